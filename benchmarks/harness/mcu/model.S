// The .tflite file as it is, at 16 bytes, as TensorFlow Lite Micro wants its weights.

    .section .rodata.model, "a"
    .balign 16
    .global model_data
model_data:
    .incbin MODEL_PATH
model_end:
    .balign 4
    .global model_size
model_size:
    .word model_end - model_data
