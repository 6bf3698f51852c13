"""What is decided without any run, a golden list: a change here changes what the book says, so it should be meant."""

import pytest

from mobius_lib.ledger import Verdict

DECIDED = {
    (1,): {
        "reproduced": """
            activations-replaced and-truth-table checkpoint-layout checkpoint-resume depth-parameter edges-favoured
            feature-grid feature-sigma flops-base gate-formula gate-law ghost-path-start inference-snippet
            integrator-gelu label-broad label-sparse label-winners mask-rotation mask-suppresses middle-keeps-gradient
            norm-amplifies params-base params-clip path-drifts stage-shapes table-possible tensorboard-list
            xor-truth-table""",
        "partly": """
            alpha-rises alpha-selects deeper-is-finer efficient flops-higher label-sharpening middle-right-diverge
            scale-formula selectivity-rises xor-near-pure""",
        "refuted": """
            card-formula label-nearly-all mask-coverage means-are-no-weights params-tiny-l params-tiny-m params-tiny-s
            sharp-makes-winners twist-rotation usage-at-training-scale""",
        "awaits": """
            alpha-rises-here beats-a-linear-layer beats-a-linear-probe better-on-features better-on-image-features
            better-on-images better-on-tiny-imagenet better-than-swiglu clip-top1 clip-top1-weights ghost-path-learned
            sparse-coding table-of-weights time-from-twists time-higher tiny-imagenet-base waves-beat-their-gate
            waves-on-features waves-on-image-features winners-at-the-end winners-here works xor-emerges-here""",
    },
    (2, 3): {
        "reproduced": """
            alpha-global alpha-weighs-middle alpha-change alpha-not-converged triadic-soft cantor-continuous
            prototypes-one-per-class prototypes-pull prototypes-agree prototypes-cluster fusion-gains
            simplex-vertices-per-class centroid-similarity centroids-at-zero cantor-normalised crystal-distance
            weights-differ weights-sum cross-entropy-of-scores contrast-direction rate-factors imagenet-rows""",
        "partly": "staircase-unit-interval usage-snippet weights-follow-scale simplex-shape-kept",
        "refuted": """
            mask-fractal alpha-start alpha-stays-near-half staircase-fractal prototypes-reachable prototypes-in-middle
            prototypes-cover simplex-vertices cantor-term-decides free-templates rows-independent no-cross-entropy
            settings-stated no-supervision""",
        "undecided": "david-comparable",
    },
    (4,): {
        "reproduced": """
            cascades-numbered dense-count fft-circular gauge-tensor-unique integer-normal-inverts l5-attention
            l5-division meta-linear-shape""",
        "partly": "base-circle infinitesimal-transport no-gradient-descent permutation-counted position-attention",
        "refuted": """
            connection-in-gl cosmic-parameters fft-resolves fibre-dimension kpz-against-root l4-count-agrees l4-formula
            l5-connections l5-constant l5-is-linear l5-practical l5-ratio l5-ratio-1000 l5-ratio-15000 l5-ratio-5000
            l5-stored l5-tenfold product-bundle query-matrix quintillion rungs-counted short-is-sharper
            transport-on-outputs transport-shares""",
        "undecided": "rungs-without-formula",
        "awaits": """
            cosmic-against-svd drop-in-here inside-against-low-rank inside-against-slim kpz-here kpz-off-the-list
            ladder-against-svd learned-attention-helps learned-connection-helps learned-parts-pay learned-parts-predict
            neighbours-kept retrained-against-low-rank retrained-against-one-bit retrained-drop-in root-law-here
            scales-help short-is-sharper-here stack-against-components trained-inside""",
    },
    (5,): {
        "reproduced": """
            optimisers-equal
            twistor-params-small fits-4gb twistor-shapes separate-parts mobius-circles three-cycles no-attention
            linear-cost nested-levels gradient-clipping amp-auto accumulation-equals accumulation-memory hope-paper
            script-options performance-test chirality nan-skipped mobius-formula-uncoupled self-modifying-here
            self-modifying-causal memory-paces-here compression-saves-here""",
        "partly": "presets-as-coded twistor-memory-possible mobius-formula self-modifying",
        "refuted": """
            twistor-params-medium twistor-params-recommended twistor-params-large memory-recommended-run twistor-space
            twistor-rays mobius-learned mobius-formula-here cycles-compose mobius-not-residual mobius-between-layers
            recurrence-causal both-directions attention-component titans-design adaptive-rate time-scales
            memories-differ memory-rate memory-cycles phase-in-compression compression-whole compression-saves
            omega-pi-apart level-rates dynamic-weights constraint-pins constraint-degeneration warmup-share
            warmup-published-run cosine-anneals cosine-published-run random-tokens optimised-script-epochs memory-paces
            nan-costs""",
    },
}


@pytest.mark.parametrize("chapters", DECIDED, ids=str)
def test_what_code_alone_decides(chapters: tuple[int, ...], without_results: list[Verdict]) -> None:
    expected = {name: outcome for outcome, names in DECIDED[chapters].items() for name in names.split()}
    found = {v.claim.id: v.outcome for v in without_results if v.claim.chapter in chapters}
    awaiting = {name for name, outcome in found.items() if outcome == "awaits" and name not in expected}
    assert {name: outcome for name, outcome in found.items() if name not in awaiting} == expected
    assert not awaiting or "awaits" not in DECIDED[chapters]
