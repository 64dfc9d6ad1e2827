"""What generated captions say and where attention is, against their definitions and by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmtutor.captioning import ShowAndTell, Tokens, greedy
from mmtutor.data import COLOURS, MultimodalDataset, Photos, Scenes, Vocabulary, scenes
from mmtutor.data.scene import Thing
from mmtutor.data.word import WORDS
from mmtutor.metrics import (
    attention_shift,
    caption_facts,
    evenness,
    generate_captions,
    mentions,
    object_recall,
    pointing,
)

# ---- sentences about scenes

THREE = Thing(3, "red", "small", (4, 8, 14, 22))  # its middle: 9, 15
SEVEN = Thing(7, "blue", "big", (32, 8, 48, 34))  # 40, 21: right of the three
NINE = Thing(9, "white", "small", (34, 46, 46, 62))  # 40, 54: below the seven, on a diagonal from the three
ZERO = Thing(0, "orange", "big", (10, 20, 30, 46))  # 20, 33


def shown(*rows):
    """Scenes without pictures in which each object fills its box."""
    most = max(map(len, rows))
    owner = torch.full((len(rows), 64, 64), -1, dtype=torch.int8)
    digit, colour = (torch.full((len(rows), most), -1) for _ in range(2))
    for k, row in enumerate(rows):
        for i, thing in enumerate(row):
            left, top, right, bottom = thing.box
            owner[k, top:bottom, left:right] = i
            digit[k, i], colour[k, i] = thing.digit, list(COLOURS).index(thing.colour)
    tensors = {"owner_label": owner, "digit_label": digit, "colour_label": colour}
    return Scenes(tensors, [[""]] * len(rows), [list(row) for row in rows], [[[]]] * len(rows))


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("", []),
        ("there is a red", []),
        ("seven", [(0, None, None, 7, {"digit": 0})]),
        ("a seven", [(0, None, None, 7, {"digit": 1})]),
        ("there is an orange one", [(2, None, "orange", 1, {"colour": 3, "digit": 4})]),
        ("a big red two", [(0, "big", "red", 2, {"size": 1, "colour": 2, "digit": 3})]),
        ("there is small two", [(2, "small", None, 2, {"size": 2, "digit": 3})]),  # no article
        ("a <unk> red <unk> six", [(0, None, "red", 6, {"colour": 2, "digit": 4})]),
        ("a red <unk> left of a blue six", [(5, None, "blue", 6, {"colour": 6, "digit": 7})]),
        ("a red blue six", [(0, None, "blue", 6, {"colour": 2, "digit": 3})]),  # the last colour counts
        ("four red five", [(0, None, None, 4, {"digit": 0}), (1, None, "red", 5, {"colour": 1, "digit": 2})]),
        ("a red <unk> and a six", [(4, None, None, 6, {"digit": 5})]),  # the red one was never named
        ("a four red five", [(0, None, None, 4, {"digit": 1}), (2, None, "red", 5, {"colour": 2, "digit": 3})]),
        ("a four a a five", [(0, None, None, 4, {"digit": 1}), (3, None, None, 5, {"digit": 4})]),
        ("A Red seven", [(2, None, None, 7, {"digit": 2})]),
    ],
)
def test_mentions_by_hand(sentence, found):
    assert [tuple(m) for m in mentions(sentence)] == found


def test_facts_by_hand():
    data = shown([THREE, SEVEN], [THREE, SEVEN], [THREE, SEVEN], [THREE, SEVEN], [SEVEN, NINE, THREE])
    captions = [
        "a small red three left of a big blue seven",  # all is right
        "a big blue three right of a small green seven",  # the colour blue is there, with another digit
        "there is a red eight above a seven",  # of an eight nothing is true but its colour
        "",
        "a blue seven is above a big white nine and a three",
    ]
    facts = caption_facts(captions, data)
    assert facts == {
        "digit": pytest.approx((2 + 2 + 1 + 3) / 9),
        "colour": pytest.approx((2 + 1 + 1 + 2) / 7),
        "size": pytest.approx((2 + 0 + 0 + 0) / 5),
        "relation": pytest.approx((1 + 0 + 0 + 1) / 4),
        "relation digits": pytest.approx((1 + 1 + 0 + 1) / 4),  # there is no eight
        "related": pytest.approx((1 + 0 + 1) / 3),
        "related at random": pytest.approx((1 / 4 + 1 / 4 + 1 / 4) / 3),
        "binding": pytest.approx((2 + 0 + 0 + 2) / 7),
        "paired": pytest.approx((2 + 0 + 2) / 6),
        "paired at random": pytest.approx((4 / 2 + 2 / 3) / 6),
        "object recall": pytest.approx((1 + 0 + 0 + 0 + 2 / 3) / 5),
    }
    assert all(type(value) is float for value in facts.values())


@pytest.mark.parametrize(
    ("sentence", "share"),
    [
        ("a three left of a seven", 1),
        ("a three is left of a seven", 1),
        ("a seven right of a three", 1),
        ("a three right of a seven", 0),
        ("a three above a seven", 0),
        ("a three above a nine", 1),  # on a diagonal each of both directions
        ("a three left of a nine", 1),
        ("a three below a nine", 0),
        ("a nine below a seven and a three", 1),
        ("a nine and a three left of a seven", 1),  # said of the three
        ("a three left of a seven above a nine", 1),
        ("a three left of a seven below a nine", 0.5),
        ("a three left of a red", 0),  # of nothing
        ("a three left a seven", 0),
        ("a two left of a seven", 0),
        ("a three left of a two", 0),
    ],
)
def test_relations_of_what_is_named(sentence, share):
    assert caption_facts([sentence], shown([SEVEN, THREE, NINE]))["relation"] == share


def test_a_digit_named_twice_has_no_relation_to_itself():
    facts = caption_facts(["a red three below a blue three"], shown([THREE, SEVEN]))
    assert facts["relation"] == facts["relation digits"] == facts["related"] == 0


@pytest.mark.parametrize(
    ("sentence", "both", "related", "chance"),
    [
        ("a three right of a seven", 1, 0, 1 / 4),  # the relation alone is wrong
        ("a three above a nine", 1, 1, 1 / 2),  # on a diagonal two of the four are true
        ("a three below a nine", 1, 0, 1 / 2),
        ("a two left of a seven", 0, 0, 0),  # of no two objects
        ("a three left of a two and a seven above a nine", 1 / 2, 1, 1 / 4),
        ("a three left of a seven right of a nine", 1, 1 / 2, 1 / 4),  # the seven is above the nine
        ("a three below a nine below a seven", 1, 1 / 2, 3 / 8),
    ],
)
def test_relations_given_that_both_digits_are_right(sentence, both, related, chance):
    facts = caption_facts([sentence], shown([SEVEN, THREE, NINE]))
    assert (facts["relation digits"], facts["related"], facts["related at random"]) == (both, related, chance)
    assert facts["relation"] == pytest.approx(both * related)


def test_where_nothing_is_written_nothing_is_right():
    facts = caption_facts(["", "there is"], shown([THREE], [THREE, SEVEN]))
    assert set(facts.values()) == {0.0}
    assert len(facts) == 11


def test_named_needs_colour_and_digit_together():
    data = shown([THREE], [THREE, SEVEN], [THREE, SEVEN], [THREE, SEVEN, NINE], [THREE, SEVEN])
    captions = [
        "a red three and a green one",
        "a red seven and a blue three",
        "red three red three",
        "a small white nine above a big red three and a green seven",
        "a three left of a seven",
    ]
    shares = object_recall(captions, data)
    assert shares.dtype == np.float64
    assert shares.tolist() == pytest.approx([1, 0, 1 / 2, 2 / 3, 0])


def test_the_references_themselves_are_true():
    data = scenes("valid", n=60, objects=(1, 4), progress=False)
    for r in range(3):
        captions = [row[r] for row in data.captions]
        facts = caption_facts(captions, data)
        assert 0 < facts.pop("paired at random") < 0.7
        assert 0.25 <= facts.pop("related at random") <= 0.5
        assert set(facts.values()) == {1.0}
        assert (object_recall(captions, data) == 1).all()


# ---- where attention is


def attention(*rows, regions=64):
    """Attention (1, T, L) from what lies where at each word."""
    alpha = torch.zeros(1, len(rows), regions, dtype=torch.float64)
    for word, row in enumerate(rows):
        for region, share in row.items():
            alpha[0, word, region] = share
    return alpha


def test_pointing_by_hand_on_8_times_8_regions():
    """The seven touches columns 4 and 5 and rows 1 to 4: 8 regions from 12; the three columns 0, 1 and rows 1, 2."""
    data = shown([THREE, SEVEN])
    alpha = attention(
        {0: 1},  # a
        {12: 0.5, 36: 0.2, 33: 0.3},  # big: on the seven with 0.7
        {8: 0.6, 17: 0.1, 33: 0.3},  # red: on the three with 0.7
        {33: 0.6, 37: 0.4},  # seven: more is beside it
        {63: 1},  # after the end
    )
    points = pointing(["a big red seven"], alpha, data)
    assert list(points) == ["digit", "colour", "size"]
    assert points["size"] == pytest.approx((1, 0.7, 8 / 64, 1))
    assert points["colour"] == pytest.approx((1, 0.7, 4 / 64, 1))  # the red one, though the digit is of the other
    assert points["digit"] == pytest.approx((0, 0.4, 8 / 64, 1))
    assert points["digit"]._fields == ("hits", "mass", "chance", "words")


def test_pointing_by_hand_on_4_times_4_regions():
    """The seven touches column 2 and rows 0 to 2; the three column 0 and rows 0, 1."""
    data = shown([THREE, SEVEN])
    alpha = attention({}, {2: 0.2, 6: 0.2, 10: 0.2, 8: 0.4}, {4: 1}, {1: 0.9, 0: 0.1}, regions=16)
    points = pointing(["a blue three red"], alpha, data)  # the last word belongs to no digit
    assert points["colour"] == pytest.approx((0, 0.6, 3 / 16, 1))
    assert points["digit"] == pytest.approx((1, 1, 2 / 16, 1))
    assert list(points) == ["digit", "colour"]  # of sizes none was captions


def test_rows_and_columns_are_not_exchanged():
    wide = shown([Thing(1, "red", "big", (16, 8, 56, 16))])  # columns 2 to 6 of row 1
    for region, hit in ((10, 1), (14, 1), (15, 0), (17, 0), (9, 0), (18, 0), (2, 0)):
        assert pointing(["one"], attention({region: 1}), wide)["digit"] == pytest.approx((hit, hit, 5 / 64, 1))


@pytest.mark.parametrize("side", [1, 2, 4, 8, 16, 32, 64])
def test_attention_on_the_object_alone_is_1_and_even_attention_is_chance(side):
    data = scenes("test", n=6, objects=(2, 3), progress=False)
    cell = 64 // side
    captions, on, even = [], torch.zeros(6, 12, side, side), torch.full((6, 12, side**2), side**-2.0)
    for k, things in enumerate(data.objects):
        captions.append(" ".join(f"a {t.size} {t.colour} {WORDS[t.digit]}" for t in things))
        for i in range(len(things)):
            for y, x in (data.tensors["owner_label"][k] == i).nonzero().tolist():
                on[k, 4 * i : 4 * i + 4, y // cell, x // cell] = 1
    on = on.flatten(2)
    share = (on[:, ::4].mean(2)).sum() / sum(map(len, data.objects))
    on /= on.sum(2, keepdim=True).clamp(min=1)
    for points in pointing(captions, on, data).values():
        assert points == pytest.approx((1, 1, share.item(), sum(map(len, data.objects))), abs=1e-6)
    for points in pointing(captions, even, data).values():
        assert points.mass == pytest.approx(points.chance)


def test_pointing_averages_over_words_and_leaves_out_what_is_not_there():
    data = shown([THREE, SEVEN], [SEVEN])
    first, second = [{8: 1}, {12: 1}, {0: 1}, {12: 1}], [{12: 1}, {8: 0.75, 12: 0.25}, {0: 1}, {0: 1}]
    alpha = torch.cat([attention(*first), attention(*second)])
    points = pointing(["three seven eight green", "seven seven three red"], alpha, data)
    assert list(points) == ["digit"]
    assert points["digit"] == pytest.approx((3 / 4, (1 + 1 + 1 + 0.25) / 4, (4 + 3 * 8) / 64 / 4, 4))
    assert pointing(["", "a two"], alpha, data) == {}


def test_gradients_and_other_types_do_not_matter():
    data = shown([THREE, SEVEN])
    alpha = torch.rand(1, 9, 64).softmax(2).requires_grad_()
    captions = ["a red three left of a blue seven"]
    one = pointing(captions, alpha, data)
    for other in (alpha.double(), alpha.detach()):
        assert pointing(captions, other, data) == one
        np.testing.assert_array_equal(
            attention_shift(captions, other, data)["named"], attention_shift(captions, alpha, data)["named"]
        )


def test_attention_shift_by_hand():
    """Each word's attention: on the three (region 8), on the seven (12), elsewhere (63)."""
    data = shown([THREE, SEVEN])
    on_three, on_seven = [0.1, 0.8, 0.7, 0.6, 0.5, 0.3, 0.2, 0.1], [0.05, 0.1, 0.15, 0.2, 0.4, 0.6, 0.7, 0.8]
    alpha = attention(*({8: a, 12: b, 63: 1 - a - b} for a, b in zip(on_three, on_seven, strict=True)))
    captions = ["a red three above a big blue seven"]
    shift = attention_shift(captions, alpha, data, around=2, at="article")  # the moment is 'a', word 4
    assert shift["named"] == pytest.approx(on_seven[2:7])
    assert shift["before"] == pytest.approx(on_three[2:7])
    shift = attention_shift(captions, alpha, data, around=2)  # the moment is 'seven', the last word
    assert shift["named"] == pytest.approx([*on_seven[5:], 0, 0])
    assert shift["before"] == pytest.approx([*on_three[5:], 0, 0])
    even = attention_shift(captions, torch.ones_like(alpha) / 64, data, around=2)
    assert shift["chance"] == pytest.approx(even["named"])
    assert 0 < shift["chance"][0] < 0.2
    with pytest.raises(ValueError, match="attention_shift: at must be 'digit' or 'article', got 'end'"):
        attention_shift(captions, alpha, data, at="end")
    back = attention_shift(["a seven above a three"], alpha, data, around=0)
    assert back["named"] == pytest.approx([0.2 + 0.2 + 0.1])  # at 'three', word 4
    assert back["before"] == pytest.approx([0.4])


def test_attention_shift_counts_what_lies_inside_of_each_sentence():
    data = shown([THREE, SEVEN], [THREE, SEVEN])
    first = [{8: 0.1 * w, 12: 0.05 * w} for w in range(7)]
    second = [{8: 0.02, 12: 0.5 + 0.01 * w} for w in range(7)]
    alpha = torch.cat([attention(*first), attention(*second)])
    captions = ["three a seven", "there is a three and a seven"]  # moments 2 of 3 words, 6 of 7 words
    shift = attention_shift(captions, alpha, data, around=1)
    assert shift["chance"][2] == 0 < shift["chance"][1]
    assert shift["named"][:2] == pytest.approx([(0.05 + 0.55) / 2, (0.1 + 0.56) / 2])
    assert shift["before"][:2] == pytest.approx([(0.1 + 0.02) / 2, (0.2 + 0.02) / 2])
    assert shift["named"][2] == shift["before"][2] == 0  # after all ends, whatever the attention there
    shift = attention_shift(captions, alpha, data, around=3)
    assert shift["named"][0] == pytest.approx(0.53)  # before the first word of the one sentence, in the other
    assert shift["before"][0] == pytest.approx(0.02)
    assert shift["named"].shape == shift["before"].shape == (7,)


def test_attention_shift_counts_each_next_object_of_the_scene():
    data = shown([THREE, SEVEN, NINE])
    region = {3: 8, 7: 12, 9: 53}
    captions = "three seven nine two three three"
    alpha = attention(*({region[3]: 0.1 * (w + 1), region[7]: 0.05, region[9]: 0.01 * w} for w in range(6)))
    shift = attention_shift([captions], alpha, data, around=0)
    # Seven after three at word 1, nine after seven at word 2; no object follows or is a two; no new one is the last.
    assert shift["named"] == pytest.approx([(0.05 + 0.02) / 2])
    assert shift["before"] == pytest.approx([(0.2 + 0.05) / 2])


@pytest.mark.parametrize("sentence", ["", "a three", "a three and a three", "a three and a two", "a two and a three"])
def test_attention_shift_needs_two_objects(sentence):
    with pytest.raises(ValueError, match="attention_shift: no caption names two objects of its scene"):
        attention_shift([sentence], torch.ones(1, 6, 64), shown([THREE, SEVEN]))


def test_evenness_by_hand():
    data = shown([THREE, SEVEN], [THREE], [THREE, SEVEN, NINE], [THREE, SEVEN])
    alpha = torch.cat(
        [
            attention({8: 0.6, 12: 0.3, 63: 0.1}, {8: 0.1, 12: 0.5}, {8: 9}),  # 0.7 and 0.8
            attention({0: 1}, {0: 1}, {0: 1}),  # one object: not counted
            attention({8: 1}, {12: 1}, {}),  # nothing on the nine
            attention({8: 0.5, 12: 0.5}, {}, {}),
        ]
    )
    assert evenness(["three seven"] * 4, alpha, data) == pytest.approx((0.7 / 0.75 + 0 + 1) / 3)
    with pytest.raises(ValueError, match="evenness: no scene has two objects"):
        evenness(["three"], alpha[:1], shown([THREE]))


@pytest.mark.parametrize("measure", [pointing, attention_shift, evenness])
@pytest.mark.parametrize(
    ("captions", "shape", "says"),
    [
        (["three seven"], (2, 9, 64), "one for each of the 2 scenes, got 1"),
        ("ab", (2, 9, 64), "one for each of the 2 scenes"),
        (["three seven"] * 2, (1, 9, 64), r"alpha must be \(n, T, L\) with n = 2"),
        (["three seven"] * 2, (2, 9, 63), "square grid"),
        (["three seven"] * 2, (2, 9, 9), "divides 64 pixels"),
        (["three seven"] * 2, (2, 9, 8, 8), r"alpha must be \(n, T, L\).*got \(2, 9, 8, 8\)"),
        (["three seven"] * 2, (2, 64), "alpha must be"),
        (["three", "three six seven"], (2, 2, 64), "alpha has 2 words, a caption has 3"),
    ],
)
def test_attention_of_the_wrong_shape_is_refused(measure, captions, shape, says):
    with pytest.raises(ValueError, match=f"{measure.__name__}: .*{says}"):
        measure(captions, torch.ones(shape), shown([THREE, SEVEN], [THREE, SEVEN]))


@pytest.mark.parametrize("shape", [(2, 9, 0), ()])
def test_attention_on_nothing_is_refused(shape):
    with pytest.raises(ValueError, match="alpha must be"):
        pointing(["three seven"] * 2, torch.ones(shape), shown([THREE, SEVEN], [THREE, SEVEN]))


@pytest.mark.parametrize("measure", [pointing, attention_shift, evenness])
def test_attention_in_an_array_and_none_at_all(measure):
    data, alpha = shown([THREE, SEVEN]), attention(*[{8: 0.5, 12: 0.5}] * 5)
    captions = ["three seven three"]
    for kind in (alpha.numpy(), alpha.tolist()):
        found, wanted = measure(captions, kind, data), measure(captions, alpha, data)
        assert str(found) == str(wanted)
    with pytest.raises(ValueError, match=f"{measure.__name__}: alpha is None; this model has no attention"):
        measure(captions, None, data)


@pytest.mark.parametrize("measure", [caption_facts, object_recall])
def test_what_captions_say_needs_scenes_and_strings(measure):
    with pytest.raises(TypeError, match=f"{measure.__name__}: data must be Scenes, .* got Subset"):
        measure(["three"], torch.utils.data.Subset(shown([THREE]), [0]))
    with pytest.raises(TypeError, match=r"a caption must be a string, .*, got \['three'\] at 0"):
        measure([["three"]], shown([THREE]))


@pytest.mark.parametrize("measure", [caption_facts, object_recall])
@pytest.mark.parametrize("captions", [[], ["a"], ["a"] * 3, "ab"])
def test_sentences_that_do_not_fit_the_scenes_are_refused(measure, captions):
    with pytest.raises(ValueError, match=f"{measure.__name__}: captions must be one for each of the 2 scenes"):
        measure(captions, shown([THREE], [SEVEN]))


# ---- captions of any data


class Scribe(torch.nn.Module):
    """Writes as many ones as the picture's number says, then the end."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))


def scribble(model, batch, length, alpha=True):
    """A decoder: sentences as long as the longest of the batch."""
    counts = batch["count"]
    T = int(counts.max()) + 1
    tokens = torch.zeros(len(counts), T, dtype=torch.int64)
    for row, n in zip(tokens, counts, strict=True):
        row[:n], row[n] = 4, 2
    alphas = torch.full((len(counts), T, 4), 0.25) * counts[:, None, None]
    return tokens, torch.zeros(len(counts)), alphas if alpha else None


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_captions_are_put_together_from_batches_of_different_length(batch_size):
    data = MultimodalDataset({"count": torch.tensor([2, 1, 3, 1, 2])})
    texts, weights = generate_captions(Scribe(), data, Vocabulary(["one"]), scribble, 6, batch_size)
    assert texts == ["one one", "one", "one one one", "one", "one one"]
    assert weights.shape == (5, 6, 4)
    assert weights[:, 0, 0].tolist() == [0.5, 0.25, 0.75, 0.25, 0.5]
    assert (weights[:, 4:] == 0).all()
    assert generate_captions(Scribe(), data, Vocabulary(["one"]), scribble, 6, alpha=False) == (texts, None)


def test_any_data_can_have_captions():
    data = MultimodalDataset({"count": torch.tensor([2, 1, 3, 1, 2])})
    texts, weights = generate_captions(Scribe(), data, Vocabulary(["one"]), scribble, 6, 2)
    for kind in (data.tensors, torch.utils.data.Subset(data, range(5)), torch.utils.data.DataLoader(data, 2)):
        found = generate_captions(Scribe(), kind, Vocabulary(["one"]), scribble, 6, 2)
        assert found[0] == texts
        assert torch.equal(found[1], weights)


def test_photographs_can_have_captions(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(3):
        Image.fromarray(rng.integers(0, 256, (8 + k, 9, 3), np.uint8)).save(tmp_path / f"{k}.png")
    photographs = Photos(tmp_path, [f"{k}.png" for k in range(3)], [["a dog"]] * 3, size=8)
    vocabulary = Vocabulary(["a", "dog"])
    torch.manual_seed(0)
    model = ShowAndTell(torch.nn.Flatten(), 192, Tokens(len(vocabulary)), image="photo")
    wanted = [vocabulary.decode(row) for row in greedy(model, torch.utils.data.default_collate([*photographs]), 5)[0]]
    for kind in (photographs, photographs.tokenised(vocabulary, 6), torch.utils.data.DataLoader(photographs, 2)):
        assert generate_captions(model, kind, vocabulary, greedy, 5, 2) == (wanted, None)


def test_the_vocabulary_is_the_models_and_the_model_says_what_it_reads():
    model = ShowAndTell(torch.nn.Flatten(), 12, Tokens(6))
    with pytest.raises(ValueError, match="made for 6 words, the vocabulary has 5; hand in the vocabulary"):
        generate_captions(model, {"scene": torch.rand(2, 3, 2, 2)}, Vocabulary(["one"]), greedy, 5)
    with pytest.raises(ValueError, match="ShowAndTell: the batch has no 'scene' but 'photo'"):
        generate_captions(model, {"photo": torch.rand(2, 3, 2, 2)}, Vocabulary(["one", "two"]), greedy, 5)
    with pytest.raises(ValueError, match=r"decode must give one caption each, \(B, T\), got \(2, 5, 4\)"):
        generate_captions(
            model,
            {"scene": torch.rand(2, 3, 2, 2)},
            Vocabulary(["one", "two"]),
            lambda *_: (torch.ones(2, 5, 4),) * 3,
            5,
        )
