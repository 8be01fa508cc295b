"""Protocols: each refers to existing functions and is serializable."""

import dataclasses
import json

import pytest

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import networks, preprocessing
from tf_dvdgan.evaluation.runs import protocols

ALL = list(protocols.PROTOCOLS.values())


@pytest.mark.parametrize("protocol", ALL, ids=lambda protocol: protocol.name)
def test_network_and_preprocessing_exist(protocol):
    assert protocol.compares_with
    if protocol.metric == protocols.PREDICTION:
        return  # compares pixels, without a network
    assert protocol.metric in (
        protocols.FRECHET,
        protocols.INCEPTION,
        protocols.ACCURACY,
        protocols.S3,
        protocols.S3_SCRATCH,
    )
    assert protocol.network == "pixels" or protocol.network in networks.NETWORKS
    assert callable(getattr(preprocessing, protocol.preprocessing))
    if protocol.network == "c3d":
        assert protocol.num_frames == 16 and protocol.num_classes == 101


@pytest.mark.parametrize("protocol", ALL, ids=lambda protocol: protocol.name)
def test_is_restored_from_json(protocol):
    as_json = json.dumps(dataclasses.asdict(protocol))
    assert protocols.Protocol(**json.loads(as_json)) == protocol


def test_names_are_unique():
    for name, protocol in protocols.PROTOCOLS.items():
        assert protocols.get(name) is protocol and protocol.name == name


def test_numbers_match_the_papers():
    fvd, bair = protocols.get("fvd_unterthiner"), protocols.get("fvd_bair")
    assert (fvd.num_frames, fvd.num_generated, fvd.output) == (16, 2048, "logits")
    assert bair.num_generated == bair.num_real * bair.samples_per_clip == 25_600
    tgan = protocols.get("is_c3d_tgan")
    assert (tgan.num_generated, tgan.num_repeats) == (10_000, 10)
    assert protocols.get("is_dvdgan").num_classes == 600


def test_lower_is_better_only_for_distances():
    low = {name for name, p in protocols.PROTOCOLS.items() if p.lower_is_better}
    named = {name for name in protocols.PROTOCOLS if name.startswith(("fid", "fvd"))}
    assert low == named


def test_an_unknown_name_is_reported_with_a_suggestion():
    with pytest.raises(errors.UserError, match="Did you mean 'fid_small'") as error:
        protocols.get("fid_smal")
    assert "\n" not in str(error.value)
