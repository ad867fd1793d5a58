"""Start values are the least-squares fit: coef(nls(y ~ SSxxx(...))) of R 4.2.2, package stats."""

import jax
import numpy as np
import pytest

import glmmjax as gj
from glmmjax import curves

ORANGE, THEOPH = gj.datasets.load("Orange"), gj.datasets.load("Theoph")
THEOPH_1 = THEOPH[THEOPH.Subject.astype(str) == "1"]
# Parts of R's data sets: ChickWeight (chicks 1 and 6), Loblolly (seed 329), CO2 (plant Qn1),
# DNase (run 1), Puromycin (treated), Indometh (subject 1).
DAY = np.array([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21])
CHICK_1 = np.array([42, 51, 59, 64, 76, 93, 106, 125, 149, 171, 199, 205])
CHICK_6 = np.array([41, 49, 59, 74, 97, 124, 141, 148, 155, 160, 160, 157])
AGE, HEIGHT = [3, 5, 10, 15, 20, 25], [3.93, 9.34, 26.08, 37.79, 48.31, 56.43]
CO2 = [95, 175, 250, 350, 500, 675, 1000]
UPTAKE = [16, 30.4, 34.8, 37.2, 35.3, 39.2, 39.7]
LOG_DNASE = np.log([0.04882812, 0.1953125, 0.390625, 0.78125, 1.5625, 3.125, 6.25, 12.5]).repeat(2)
DENSITY = [0.017, 0.018, 0.121, 0.124, 0.206, 0.215, 0.377, 0.374,
           0.614, 0.609, 1.019, 1.001, 1.334, 1.364, 1.73, 1.71]  # fmt: skip
SUBSTRATE = np.repeat([0.02, 0.06, 0.11, 0.22, 0.56, 1.1], 2)
VELOCITY = [76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200]
HOUR = np.array([0.25, 0.5, 0.75, 1, 1.25, 2, 3, 4, 5, 6, 8])
INDOMETH = np.array([1.5, 0.94, 0.78, 0.48, 0.37, 0.19, 0.12, 0.11, 0.08, 0.07, 0.05])

CASES = {
    "Orange": ("SSlogis", [ORANGE.age], ORANGE.circumference,
               [192.68759189331, 728.756383056166, 353.533665343016]),
    "Chick 1": ("SSlogis", [DAY], CHICK_1, [937.020627786434, 35.222795462275, 11.405191821846]),
    "DNase": ("SSlogis", [LOG_DNASE], DENSITY,
              [2.34517929769363, 1.48308931930272, 1.04145469425751]),
    "Chick 1, four parameters": (
        "SSfpl", [DAY], CHICK_1,
        [27.453209070717, 348.971166890696, 19.3905280736135, 6.67262062842163]),
    "Loblolly": ("SSasymp", [AGE], HEIGHT,
                 [94.1282098946555, -8.25075255444324, -3.21757827261458]),
    "Loblolly from 0": ("SSasympOrig", [AGE], HEIGHT, [315.044572819576, -4.81388984500396]),
    "CO2": ("SSasympOff", [CO2], UPTAKE, [38.1397800054745, -4.38064623267765, 51.2232766614092]),
    "DNase, Gompertz": ("SSgompertz", [LOG_DNASE], DENSITY,
                        [4.60333040422477, 2.27133842487532, 0.71646645203325]),
    "Orange, Gompertz": ("SSgompertz", [ORANGE.age], ORANGE.circumference,
                         [223.65341052565, 2.57351755044953, 0.998446502441605]),
    "Chick 6 after hatching": (
        "SSweibull", [DAY[1:]], CHICK_6[1:],
        [158.501190979, 110.997057336, -5.99342527196, 2.64614264766]),
    "Puromycin": ("SSmicmen", [SUBSTRATE], VELOCITY, [212.683742985795, 0.0641212814373658]),
    "Indometh": ("SSbiexp", [HOUR], INDOMETH,
                 [2.0292780153503, 0.57938976793281, 0.191547959875803, -1.78778330524329]),
    "Theoph": ("SSfol", [THEOPH.Dose, THEOPH.Time], THEOPH.conc,
               [-2.52423865364783, 0.399226523227852, -3.24826257803327]),
    "Theoph 1": ("SSfol", [THEOPH_1.Dose, THEOPH_1.Time], THEOPH_1.conc,
                 [-2.91961331706292, 0.575159371078574, -3.91585609017774]),
}  # fmt: skip


def start(name, x, y):
    return curves.get(name).start(tuple(np.asarray(c, float) for c in x), np.asarray(y, float))


@pytest.mark.parametrize("case", list(CASES))
def test_start_is_the_least_squares_fit(case):
    name, x, y, expected = CASES[case]
    got = start(name, x, y)
    assert tuple(got) == curves.get(name).parameters
    np.testing.assert_allclose(list(got.values()), expected, rtol=1e-6)


DOSES = (np.tile([0.0, 6.0, 12.0], (40, 1)), np.tile([100.0, 50.0, 80.0], (40, 1)))
DOSED = (np.linspace(0.1, 24.0, 40), *DOSES)
TRUTH = {
    "SSweibull": ((40.0, 30.0, -1.0, 1.6), (np.linspace(0.0, 5.0, 40),)),  # x = 0 in the data
    "emax": ((2.0, -9.0, 1.2), (np.repeat([0.0, 1.0, 3.0, 10.0, 30.0], 8),)),
    "sigmoid_emax": ((2.0, 9.0, 1.2, 0.8), (np.repeat([0.0, 1.0, 3.0, 10.0, 30.0], 8),)),
    "pk1_bolus": ((0.3, 2.0), DOSED),
    "pk1_oral": ((0.6, 0.5, 2.5), DOSED),
    "pk2_bolus": ((0.7, 1.5, 0.4, 2.6), DOSED),
}


@pytest.mark.parametrize("name", list(TRUTH))
def test_data_on_the_curve_give_its_parameters_back(name):
    phi, x = TRUTH[name]
    y = curves.get(name)(tuple(np.full(40, p) for p in phi), x)
    np.testing.assert_allclose(list(start(name, x, y).values()), phi, rtol=1e-6)


def test_the_scale_of_the_data_makes_no_difference():
    got = start("SSlogis", [ORANGE.age * 1e-6], ORANGE.circumference * 1e8)
    np.testing.assert_allclose(
        list(got.values()), [192.68759189e8, 728.756383e-6, 353.533665e-6], rtol=1e-6
    )


def test_a_32_bit_process_gets_the_same_start():
    with jax.enable_x64(False):
        got = start("SSmicmen", [SUBSTRATE], VELOCITY)
    np.testing.assert_allclose(list(got.values()), CASES["Puromycin"][-1], rtol=1e-6)


@pytest.mark.parametrize(
    "x, y, message",
    [
        ([[1.0, 2.0]], [1.0, 2.0], "2 rows cannot start the 3 parameters of SSlogis"),
        ([[1.0, 2, 3, 4]], [1.0, 2, np.nan, 4], "the response has missing"),
        ([[1.0, np.inf, 3, 4]], [1.0, 2, 3, 4], "input has missing or infinite"),
        ([[1.0, 2, 3]], [1.0, 2, 3, 4], r"input has shape \(3,\)"),
        ([[1.0, 2, 3], [1.0, 2, 3]], [1.0, 2, 3], "takes input; given: 2 arrays"),
        (
            [[2.0, 2, 2, 2]],
            [1.0, 2, 3, 4],
            r"all the same. Give start=\{'Asym': ..., 'xmid'",
        ),
    ],
)
def test_what_cannot_be_started_is_refused_in_words(x, y, message):
    with pytest.raises(gj.DataError, match=message):
        start("SSlogis", x, y)


def test_a_curve_that_overflows_everywhere_asks_for_a_start():
    days = 700_000 + np.arange(20.0)  # b2 = exp(xmid / scal) is beyond any float
    said = r"least squares .* is finite at b2 = .*, b3 = .* \(nan\); .* more points. Give start="
    with pytest.raises(gj.DataError, match=said):
        start("SSgompertz", [days], np.arange(20.0))
