"""Training: recipe, batches, one loop, checkpoints, curves, hub. It knows no model and no data set."""

from mobius_lib.training.batches import Batches, LoaderBatches, ResidentBatches
from mobius_lib.training.checkpoint import RunFolder, load_model, read
from mobius_lib.training.evaluation import evaluate
from mobius_lib.training.loop import Diverged, Groups, Objective, Outcome, TrainingError, fit
from mobius_lib.training.recipe import Recipe, RecipeError

__all__ = [
    "Batches",
    "Diverged",
    "Groups",
    "LoaderBatches",
    "Objective",
    "Outcome",
    "Recipe",
    "RecipeError",
    "ResidentBatches",
    "RunFolder",
    "TrainingError",
    "evaluate",
    "fit",
    "load_model",
    "read",
]
