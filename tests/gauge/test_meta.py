"""L5: both usages of the note, connections, gauges, and the printed formulas."""

import math

import pytest
import torch
from torch import nn

from mobius_lib.gauge import (
    MetaMobiusLinear,
    MobiusHarmonicBridge,
    bundle,
    connection_count,
    log_cooccurrence,
    relative_error,
    seed_count,
)
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.meta import PARTS


def test_both_usages_of_the_seed(tokens):
    layer = MetaMobiusLinear(96, 96)
    assert layer(torch.randn(2, 96)).shape == (2, 96)
    ratio, dense, stored = layer.compression_ratio()
    assert dense == 96 * 96 and ratio == dense / stored
    bridges = [MobiusHarmonicBridge(window=s) for s in (5, 15, 50)]
    stream = tokens()
    k0s = [gauge.kernel(log_cooccurrence(stream, 25, s)) for s in (5, 15, 50)]
    layer = MetaMobiusLinear.from_l4_bridges(bridges, 25, stream, k0s)
    assert layer.windows == (5, 15, 50) and layer.linear
    again = MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge(window=s) for s in (5, 15, 50)], 25, stream)
    torch.testing.assert_close(again.to_dense(), layer.to_dense())


@pytest.mark.parametrize("product", ["printed", "rows", "none"])
def test_connections_never_make_it_worse(product, tokens):
    stream = tokens(seed=4)
    bridges = [MobiusHarmonicBridge(window=s) for s in (2, 9, 30)]
    plain, carried = (
        MetaMobiusLinear.from_l4_bridges(bridges, 25, stream, product=product, sweeps=sweeps) for sweeps in (0, 3)
    )
    target = sum(bridge.target(stream, 25, product=product) for bridge in bridges) / 3
    mean = sum(bridge.to_dense() for bridge in bridges) / 3
    torch.testing.assert_close(plain.to_dense(), mean, rtol=0, atol=1e-4 * target.abs().max().item())
    before, after = relative_error(target, plain.to_dense()), relative_error(target, carried.to_dense())
    assert after <= before + 1e-5  # float32 of the links


def test_a_change_of_gauge_changes_nothing(smooth_matrix):
    layer = MetaMobiusLinear.from_dense(smooth_matrix(dtype=torch.float64), 4)
    before = layer.to_dense().detach()
    bases = torch.eye(4) + 0.3 * torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    hw = layer.hw.detach().clone()
    layer.change_gauge(bases.double())
    assert (layer.hw - hw).abs().max() > 1e-2 and layer.up.abs().max() > 1e-2
    # float64, times the condition of the bases and of the Gaussians
    torch.testing.assert_close(layer.to_dense(), before, rtol=0, atol=1e-9)
    torch.testing.assert_close(layer(torch.eye(60, dtype=torch.float64)), before.mT, rtol=0, atol=1e-9)


def transcription(layer, x):
    """The printed formulas, scale by scale, in plain Python on one row."""
    n, parts = layer.terms, []
    for s in range(len(layer.windows)):
        z = []
        for k in range(n):
            sigma = layer.sigma_0[s] * (k + 1) ** (1 / 3)
            bell = [math.exp(-((place - layer.mu[s, k]) ** 2) / (2 * sigma**2)) for place in layer.places[s]]
            z.append(sum(x[j] * bell[j] for j in range(layer.in_features)))
        parts.append(torch.stack(z))
    q = layer.query @ (sum(parts) / len(parts))
    scores = torch.stack([q @ key / math.sqrt(n) for key in layer.keys])
    alpha = torch.exp(scores) / torch.exp(scores).sum()
    y = 0
    for s, z in enumerate(parts):
        h = layer.down[s] @ z + layer.down_bias[s]
        h = torch.tanh(h) if layer.activation == "tanh" else h
        y = y + alpha[s] * layer.hw[s] @ (z + layer.up[s] @ h + layer.up_bias[s])
    return y


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_attention_and_transport_as_printed(activation):
    generator = torch.Generator().manual_seed(2)
    layer = MetaMobiusLinear(12, 7, 3, activation=activation).double()
    assert layer.linear
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        layer.places.copy_(torch.stack([torch.randperm(12, generator=generator) for _ in range(3)]))
        x = torch.randn(4, 12, generator=generator, dtype=torch.float64)
        expected = torch.stack([transcription(layer, row) for row in x])
        torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    alpha = layer.attention(layer.coordinates(x))
    torch.testing.assert_close(alpha.sum(-1), torch.ones(4, dtype=torch.float64))
    assert not layer.linear
    with pytest.raises(ValueError, match="This layer is not linear"):
        layer.to_dense()


def test_what_makes_it_bend():
    for name in ("up_bias", "down_bias", "query"):
        layer = MetaMobiusLinear(12, 7, 3)
        nn.init.ones_(getattr(layer, name))
        nn.init.ones_(layer.up)
        assert not layer.linear, name
    layer = MetaMobiusLinear(12, 7, 3)
    nn.init.ones_(layer.up)
    assert layer.linear
    torch.testing.assert_close(layer(torch.eye(12)), layer.to_dense().mT)
    layer.activation = "tanh"
    assert not layer.linear


def moved(layer, seed=2, size=0.3, parts=("connection",)):
    """The same with other numbers in some parts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in (name for part in parts for name in PARTS[part]):
            parameter = getattr(layer, name)
            if parameter is not None:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter += size * noise.to(parameter)
    return layer


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_routes_against_the_differential_equation(activation):
    """Through 5, 15 and 50 to the common fibre, windows in any order: in a hundred small steps of each link."""
    torch.manual_seed(0)
    layer, printed_one = (
        MetaMobiusLinear(12, 7, 3, windows=(15, 50, 5), activation=activation, route=route).double()
        for route in ("path", "steps")
    )
    printed_one.load_state_dict(moved(layer, size=0.1).state_dict())
    z = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        found, one = layer.transport(z), printed_one.transport(z)
    layer.requires_grad_(False)
    for scale, links in enumerate(([0, 1], [1], [2, 0, 1])):
        small, printed = z[:, scale], z[:, scale]
        for link in links:

            def connection(f, link=link):
                h = f @ layer.down[link].mT + layer.down_bias[link]
                return (torch.tanh(h) if activation == "tanh" else h) @ layer.up[link].mT + layer.up_bias[link]

            printed = printed + connection(printed)
            for _ in range(100):
                small = small + connection(small + connection(small) / 200) / 100
        torch.testing.assert_close(one[:, scale], printed)
        # the middle rule errs by the square of its step, and eight steps of fourth order by the fourth power of theirs
        torch.testing.assert_close(found[:, scale], small, rtol=0, atol=1e-3 if activation == "tanh" else 1e-4)
        assert (found[:, scale] - printed).abs().max() > 0.05, "and it is another thing than the printed step"


@pytest.mark.parametrize("route", ["direct", "steps", "path"])
def test_transport_between_windows(route, smooth_matrix):
    layer = MetaMobiusLinear.from_dense(smooth_matrix(dtype=torch.float64), 4, route=route)
    with torch.no_grad():
        layer.up.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
        assert layer.linear
        torch.testing.assert_close(layer(torch.eye(60, dtype=torch.float64)), layer.to_dense().mT)
        one, there = torch.eye(4, dtype=torch.float64), layer.between(5, 50)
        torch.testing.assert_close(layer.between(15, 15), one)
        torch.testing.assert_close(layer.between(15, 50) @ layer.between(5, 15), there)
        torch.testing.assert_close(layer.between(50, 5) @ there, one)
        assert (there - one).abs().max() > 0.1
        a = layer.up @ layer.down
        if route == "path":
            torch.testing.assert_close(layer.between(5, 50), gauge.path_ordered(-a[:2]))
        elif route == "steps":
            torch.testing.assert_close(layer.between(5, 15), one + a[0])
            assert (layer.between(5, 50) - (one + a[0]) @ (one + a[1])).abs().max() > 1e-3, "the first stands right"
    if route != "direct":
        with pytest.raises(ValueError, match=r"change_gauge needs .* route='direct'"):
            layer.change_gauge(one.expand(3, 4, 4))
    with pytest.raises(ValueError, match="There is no window 7; the layer has 5, 15, 50"):
        layer.between(5, 7)


def test_exponents_of_the_scales(smooth_matrix):
    plain, root, free = (MetaMobiusLinear(60, 40, 4, beta=beta) for beta in ("kpz", "root", "free"))
    assert root.storage()["beta"].numbers == 1 and free.storage()["beta"].numbers == 3
    assert "beta" not in plain.storage() and "beta" not in plain.state_dict()
    torch.testing.assert_close(root.exponents(), torch.tensor([1, 3**-0.5, 10**-0.5]) / 3)
    torch.testing.assert_close(free.exponents(), torch.full((3,), 1 / 3))
    for layer in (root, free):
        sigma = layer.sigma_0.unsqueeze(1) * torch.arange(1, 5) ** layer.exponents().unsqueeze(1)
        places = layer.places.float().unsqueeze(1)
        torch.testing.assert_close(layer.frames(), gauge.gaussians(layer.mu, sigma, places))
    w = smooth_matrix(noise=0.02)
    tied, own = (MetaMobiusLinear.from_dense(w, 4, beta=beta) for beta in ("root", "free"))
    assert len(set(own.exponents().tolist())) > 1 and relative_error(w, own.to_dense()) < 1
    x = torch.randn(200, 60, generator=torch.Generator().manual_seed(0))
    for layer in (tied, own):
        before = layer.exponents().detach().clone()
        losses = layer.learn(x, x @ w.mT, ["cascade"], steps=20)
        assert losses[-1] < losses[0] and (layer.exponents() - before).abs().min() > 1e-4


def taught(parts, rows=600, seed=0):
    """A layer that bends, whose answers another one is to learn: (its rows, its answers)."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    size = 1.0 if parts == ["connection"] else 0.15  # with more, one scale takes nearly all of the attention
    teacher = moved(MetaMobiusLinear(24, 6, 3, activation="tanh"), seed, size, parts)
    # scales that see x differently, as fitted ones do, and inputs with a mean: else query = 0 is a saddle
    teacher.places.copy_(torch.stack([torch.randperm(24, generator=generator) for _ in teacher.windows]))
    x = torch.randn(rows, 24, generator=generator) + 0.5
    return teacher, x, teacher(x).detach()


@pytest.mark.parametrize(("part", "route"), [("connection", "direct"), ("connection", "path"), ("attention", "direct")])
def test_what_is_trained_beats_the_closed_form_at_the_same_bits(part, route):
    """The closed form has the best heights that there are for its zero connection and equal attention."""
    teacher, x, y = taught([part])
    layer = MetaMobiusLinear(24, 6, 3, activation="tanh", route=route)
    layer.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        for name in ("up", "up_bias", "query"):
            getattr(layer, name).zero_()
    bits, (train, test) = layer.stored_bits(), ((x[:400], y[:400]), (x[400:], y[400:]))
    layer.solve(*train)
    closed = (layer(test[0]) - test[1]).square().mean().item()
    # nothing linear does better on these rows: the heights of all Gaussians are free
    with torch.no_grad():
        before = (layer(train[0]) - train[1]).square().mean().item()
        layer.hw += 0.01
        assert (layer(train[0]) - train[1]).square().mean().item() > before
        layer.hw -= 0.01
    losses = layer.learn(*train, [part], steps=25 if route == "path" else 60)
    assert layer.solve(*train) <= losses[-1] * (1 + 1e-5)
    trained = (layer(test[0]) - test[1]).square().mean().item()
    assert losses[0] == pytest.approx(before, rel=1e-4) and losses[-1] < 0.7 * before
    assert trained < 0.8 * closed, "and on rows that it has not seen"
    assert layer.stored_bits() == bits and not layer.linear
    if part == "attention":
        weights = layer.attention(layer.coordinates(x))
        assert weights.std(0).max() > 0.05, "another input, other weights"


def test_training_is_the_same_each_time_and_touches_nothing_else():
    _, x, y = taught(["connection", "attention"])
    made = []
    for _ in range(2):
        torch.manual_seed(1)
        layer = MetaMobiusLinear(24, 6, 3, activation="tanh", bias=True)
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        state = torch.random.get_rng_state()
        with torch.no_grad():
            losses = layer.learn(x, y, steps=20)
        assert torch.equal(torch.random.get_rng_state(), state) and losses[-1] < losses[0]
        changed = {name for name, value in layer.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {*PARTS["connection"], *PARTS["attention"], "hw"}
        assert all(each.grad is None and each.requires_grad for each in layer.parameters())
        made.append(losses)
    assert made[0] == made[1]


@pytest.mark.parametrize("seed", range(3))
def test_what_best_heights_leave_is_what_solve_leaves(seed):
    """Of layers with anything in them: what is trained is the error itself, and training never makes it larger."""
    _, x, y = taught(["connection", "attention"], rows=120, seed=seed)
    layer = moved(MetaMobiusLinear(24, 6, 3, activation="tanh", bias=True).double(), seed, 0.2, PARTS)
    nn.init.normal_(layer.bias)
    wide = x.double(), y.double() + torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    losses = layer.learn(*wide, PARTS, steps=4)
    # by a ridge of 1e-8 where `solve` leaves weak directions out
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and min(losses) == pytest.approx(losses[-1], rel=1e-5)
    assert losses[-1] <= losses[0]
    with torch.no_grad():
        assert losses[-1] == pytest.approx((layer(wide[0]) - wide[1]).square().mean().item(), rel=1e-9)


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("route", ["direct", "steps", "path"])
def test_gradients_of_every_part_are_those_of_differences(route, activation):
    torch.manual_seed(0)
    layer = MetaMobiusLinear(9, 4, 2, windows=(2, 5), activation=activation, route=route, beta="free").double()
    moved(layer, size=0.2, parts=PARTS)
    x = torch.randn(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def of(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    values = [value.detach().clone().requires_grad_() for _, value in layer.named_parameters()]
    assert torch.autograd.gradcheck(of, (x, *values), fast_mode=route == "path")  # many small steps


def test_no_words_row_of_a_learned_layer_passes_the_svd_of_its_rank():
    """On words themselves a bent layer is a matrix of rank 3 N: Eckart and Young bound it, whatever it has learned."""
    for seed in range(4):
        torch.manual_seed(seed)
        w = torch.randn(40, 3)
        w = torch.cos(w @ w.mT).double()
        layer = MetaMobiusLinear.from_dense(w, 3, activation="tanh")
        words, values = torch.eye(40, dtype=torch.float64), torch.linalg.svdvals(w)
        before, *_, after = layer.learn(words, w.mT, steps=25)
        with torch.no_grad():
            made = layer(words).mT
        bound = (values[9:].square().sum() / values.square().sum()).sqrt().item()
        assert torch.linalg.matrix_rank(made, rtol=1e-9) <= 9
        assert after < before and relative_error(w, made) >= bound * (1 - 1e-9)


def test_the_dimensions_of_the_bundle():
    """A product of vectors of each fibre is a vector of the product fibre, and the printed Lie algebra acts on that."""
    for terms, scales in ((1, 2), (2, 3)):
        found, fibre = bundle(terms, scales), torch.ones(1)
        for _ in range(scales):
            fibre = torch.kron(fibre, torch.randn(3 * terms))
        assert (found.base, found.fibre_sum, found.fibre) == (scales, scales * 3 * terms, len(fibre))
        assert found.algebra == len(fibre) ** 2 and found.algebra_of_scales == scales * (3 * terms) ** 2
    assert bundle().fibre == 13_824 and bundle().connection == connection_count(8)


def test_the_counts_of_the_seed():
    assert connection_count(8) == 1656 and seed_count(1000) == 3 * 16_008 + 1656 + 88
    # the ratios that its formulas give
    for size, ratio in ((1000, 20.1), (5000, 103), (15000, 312), (4096, 84.6)):
        assert size**2 / seed_count(size) == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda tokens: MetaMobiusLinear(8, 4, 2, windows=()), "windows must be at least one number"),
        (lambda tokens: MetaMobiusLinear(8, 4, 2, windows=(5, 5)), "windows must be .* none twice"),
        (lambda tokens: MetaMobiusLinear(8, 4, 2, activation="relu"), "There is no activation='relu'"),
        (lambda tokens: MetaMobiusLinear(8, 4, 2, route="loop"), "There is no route='loop'"),
        (lambda tokens: MetaMobiusLinear(8, 4, 2, beta=0.5), "There is no beta=0.5"),
        (lambda tokens: MetaMobiusLinear(8, 4, 2).learn(torch.ones(3, 8), torch.ones(3, 4), ["gauge"]), "parts must"),
        (
            lambda tokens: MetaMobiusLinear(8, 4, 2).requires_grad_(False).learn(torch.ones(3, 8), torch.ones(3, 4)),
            "Nothing can be trained of connection, attention: call requires_grad_",
        ),
        (lambda tokens: MetaMobiusLinear(8, 4, 2).learn(torch.ones(3, 8), torch.ones(3, 5)), "x must be .T, 8. and y"),
        (lambda tokens: MetaMobiusLinear.from_l4_bridges([], 25, tokens()), "bridges must hold at least one"),
        (
            lambda tokens: MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge()], 25, tokens(), [None, None]),
            "k0s holds 2 kernels for 1 bridges",
        ),
        (
            lambda tokens: MetaMobiusLinear.from_l4_bridges(
                [MobiusHarmonicBridge(terms=n) for n in (2, 3)], 25, tokens()
            ),
            "all must have the same terms",
        ),
        (
            lambda tokens: MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge() for _ in range(2)], 25, tokens()),
            "windows must be .* none twice",
        ),
    ],
)
def test_bad_input(call, sentence, tokens):
    with pytest.raises(ValueError, match=sentence):
        call(tokens)
