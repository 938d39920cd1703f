"""Budgets in words: what is understood, and how figures read."""

from __future__ import annotations

import pytest

from tflite_export import budget
from tflite_export.budget import AMOUNT, FIGURE, SHARE, Limit, Term
from tflite_export.errors import TfliteError


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ("macs<=30", "macs", 30),
        ("macs<=30K", "macs", 30e3),
        ("macs<=30M", "macs", 30e6),
        ("MACs <= 1.5g", "macs", 1.5e9),
        ("params<2e3", "params", 2e3),
        ("flash<=500", "flash", 500),
        ("flash<=500B", "flash", 500),
        ("flash<=500KB", "flash", 500e3),
        ("flash<=500KiB", "flash", 512_000),
        ("flash<=.5MB", "flash", 5e5),
        ("ram<=2MiB", "ram", 2 * 1024**2),
        ("latency<=10us", "latency", 10),
        ("latency <= 10 ms", "latency", 10e3),
        ("latency<=1s", "latency", 1e6),
        ("tflm.arena<=256KB", "tflm.arena", 256e3),
        ("ethos-u55-128.cycles<=2M", "ethos-u55-128.cycles", 2e6),
        ("host.latency<=5ms", "host.latency", 5e3),
        ("android:R58_M.latency<1s", "android:r58_m.latency", 1e6),
        ("android:192.168.1.5:5555.memory<=1MiB", "android:192.168.1.5:5555.memory", 1024**2),
        ("mean.macs<=60M", "mean.macs", 60e6),
        ("Mean.latency<=2ms", "mean.latency", 2e3),
        ("mean.host.latency<=5ms", "mean.host.latency", 5e3),
        ("mean.ethos-u55-128.cycles<=2M", "mean.ethos-u55-128.cycles", 2e6),
        ("mean.android:1.2:3.latency<=1s", "mean.android:1.2:3.latency", 1e6),
    ],
)
def test_units(text, name, limit):
    assert budget.parse(text) == (Term(name, limit, text),)


@pytest.mark.parametrize(
    ("name", "device", "figure"),
    [
        ("macs", "", "macs"),
        ("tflm.arena", "tflm", "arena"),
        ("android:1.2:3.flash", "android:1.2:3", "flash"),
        ("mean.macs", "", "macs"),
        ("mean.host.cycles", "host", "cycles"),
        ("mean.android:1.2:3.cycles", "android:1.2:3", "cycles"),
    ],
)
def test_a_devices_figure_is_what_stands_behind_the_last_dot(name, device, figure):
    (term,) = budget.parse(f"{name}<=1")
    assert (term.device, term.figure) == (device, figure)


def test_several_terms():
    assert [t.name for t in budget.parse(" macs<=1M , flash<=2KB, ")] == ["macs", "flash"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" , ", "empty"),
        ("speed<=3", "unknown budget term 'speed'; terms are: macs, params, flash, ram, latency"),
        ("tflm.speed<=3", "unknown budget term 'tflm.speed'; terms are: macs"),
        ("tflm.speed<=3", "and of a device: latency, arena, head"),
        ("tflm.macs<=3", "unknown budget term 'tflm.macs'"),
        ("mean.mac<=3", "unknown budget term 'mean.mac'; did you mean mean.macs? terms are"),
        ("mean<=3", "unknown budget term 'mean'"),
        ("mean.speed<=3", "unknown budget term 'mean.speed'"),
        ("mean.flash<=3", "mean.flash is no budget term: flash is the same for every image; write flash; means of"),
        ("mean.params<=3", "write params; means of all images are mean.macs, mean.latency, mean.DEVICE.latency"),
        ("mean.tflm.arena<=3", "arena is the same for every image; write tflm.arena; means"),
        ("mean.macs<=3KB", "mean.macs has no unit 'KB'"),
        ("arena<=3", "unknown budget term 'arena'"),
        (".arena<=3", "unknown budget term '.arena'"),
        ("tflm.arena<=3ms", "tflm.arena has no unit 'ms'"),
        ("host.latency<=3", "host.latency has no unit ''"),
        ("macs>=3", "budget term 'macs>=3' is not understood"),
        ("macs", "not understood"),
        ("macs<=", "not understood"),
        ("macs<=-3", "not understood"),
        ("macs<=3 M M", "not understood"),
        ("macs<=3KB", "macs has no unit 'KB'; units: none, K, M, G"),
        ("flash<=3ms", "flash has no unit 'ms'"),
        ("latency<=10", "latency has no unit ''; units: US, MS, S"),
        ("macs<=1M, flash=2", "flash=2"),
    ],
)
def test_what_is_not_understood(text, message):
    with pytest.raises(TfliteError) as caught:
        budget.parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("macs", 999, "999"),
        ("macs", 1_230_000, "1.23 M"),
        ("params", 4.5e9, "4.5 G"),
        ("flash", 900, "900 B"),
        ("flash", 29_000_000, "29 MB"),
        ("ram", 1024, "1.02 KB"),
        ("latency", 0.5, "0.5 us"),
        ("latency", 12_340, "12.3 ms"),
        ("latency", 3e6, "3 s"),
        ("tflm.arena", 105_488, "105 KB"),
        ("cycles", 1_021_669, "1.02 M"),
        ("coral:x.latency", 900, "900 us"),
        ("mean.macs", 47_200_000, "47.2 M"),
        ("mean.ethos-u55-128.cycles", 370, "370"),
    ],
)
def test_amounts(name, value, text):
    assert budget.amount(name, value) == text


def test_a_figure_at_its_limit_is_within_the_budget():
    terms = budget.parse("macs<=30M, flash<=500")
    assert budget.over(terms, {"macs": 30e6, "flash": 500}) == {}
    assert budget.over(terms, {"macs": 33e6, "flash": 499}) == {terms[0]: pytest.approx(0.1)}


@pytest.mark.parametrize(
    ("text", "name", "limit", "change"),
    [
        ("score>=-0.5", "score", -0.5, AMOUNT),
        ("Score > +1", "score", 1, AMOUNT),
        ("score>=92.5", "score", 92.5, FIGURE),
        ("flash<=+2%", "flash", 0.02, SHARE),
        ("flash<= -10 %", "flash", -0.1, SHARE),
        ("flash<=+20KB", "flash", 20e3, AMOUNT),
        ("flash<=500KB", "flash", 500e3, FIGURE),
        ("macs<=+0", "macs", 0, AMOUNT),
        ("mean.latency<=+5%", "mean.latency", 0.05, SHARE),
        ("tflm.arena<=-1KiB", "tflm.arena", -1024, AMOUNT),
        ("mean.ethos-u55-128.cycles<=+3%", "mean.ethos-u55-128.cycles", 0.03, SHARE),
    ],
)
def test_limits_of_a_gate(text, name, limit, change):
    assert budget.limits(text) == (Limit(name, limit, text, change),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the limits '' are empty; write score>=-0.5 (points), flash<=+2%"),
        ("score=3", "limit 'score=3' is not understood; write score>=-0.5"),
        ("flash<=+-3", "is not understood"),
        ("speed<=+3%", "unknown limit 'speed'; write"),
        ("mean.flash<=+3%", "mean.flash is no limit: flash is the same for every image; write flash"),
        ("score<=+3", "score may not become lower; write score>="),
        ("flash>=-3%", "flash may not become higher; write flash<="),
        ("flash<=2%", "a share is that of what it was; write flash<=+2%"),
        ("score>=-0.5%", "score is in points without a unit; write score>=-0.5"),
        ("score>=90%", "score is in percent without a unit; write score>=90"),
        ("score>=0.9", "score is in percent; write score>=90"),
        ("score>=-3ms", "score has no unit 'ms'; units: none"),
        ("latency<=+3", "latency has no unit ''; units: US, MS, S"),
        ("flash<=+2%, flash", "'flash'"),
    ],
)
def test_limits_that_are_not_understood(text, message):
    with pytest.raises(TfliteError) as caught:
        budget.limits(text)
    assert message in str(caught.value)


def test_what_an_error_advises_is_understood():
    for text in ("score>=-0.5", "score>=90", "flash<=+2%", "latency<=+1ms", "ram<=64KB"):
        assert budget.limits(text)
