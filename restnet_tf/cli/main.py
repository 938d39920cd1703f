"""The command line: parses, calls one function, prints. Heavy imports wait until a command runs."""

from __future__ import annotations

import click

from restnet_tf.cli import (
    bench,
    build,
    cascade,
    compose,
    doctor,
    export,
    gate,
    inspect,
    link,
    optimize,
    report,
    screen,
    select,
    similarity,
    train,
    verify,
)


@click.group(
    cls=screen.Group,
    commands=(
        build.build,
        cascade.cascade,
        compose.compose,
        inspect.inspect,
        doctor.doctor,
        similarity.similarity,
        train.train,
        select.select,
        gate.gate,
        bench.bench,
        export.export,
        link.link,
        optimize.optimize,
        verify.verify,
        report.report,
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="restnet-tf")
def main() -> None:
    """Turn pretrained models into a family of TFLite models between and below them: cascades and stitches."""
