plugins {
    id("com.android.application") version "8.13.1"
    id("org.jetbrains.kotlin.android") version "2.2.0"
}

android {
    namespace = "restnet.family"
    compileSdk = 35

    defaultConfig {
        applicationId = "restnet.family"
        minSdk = 21
        targetSdk = 35
        versionCode = 1
        versionName = "1"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    androidResources { noCompress += "tflite" } // the file is mapped as it lies in the package
}

kotlin { jvmToolchain(17) }

dependencies { implementation("com.google.ai.edge.litert:litert:1.4.2") }
