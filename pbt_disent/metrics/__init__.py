"""Every metric as a pure function of arrays: `mig(codes, factors).score`; several at once: `score(inputs)`.

Shapes: N points, Z latents, K factors, M models. Importing this package imports numpy and nothing heavier: torch, scipy
and scikit-learn are imported by the functions that need them, when they are called.
"""

from __future__ import annotations

from pbt_disent.metrics._arrays import MINIMUM_POINTS
from pbt_disent.metrics.base import (
    BUDGETS,
    METRICS,
    Metric,
    MetricInputs,
    MetricResult,
    Provenance,
    register_metric,
)
from pbt_disent.metrics.dci import DCI, dci
from pbt_disent.metrics.downstream import Downstream, downstream
from pbt_disent.metrics.gaussian import (
    GaussianTotalCorrelation,
    GaussianWassersteinCorrelation,
    gaussian_total_correlation,
    gaussian_wasserstein_correlation,
)
from pbt_disent.metrics.generation import (
    Distance,
    ReconstructionError,
    frechet_distance,
    reconstruction_error,
    sliced_wasserstein,
)
from pbt_disent.metrics.infomec import InfoMEC, infomec
from pbt_disent.metrics.intervals import (
    Interval,
    interval_ends,
    interval_over_models,
    interval_over_points,
    interval_over_replicas,
)
from pbt_disent.metrics.irs import IRS, irs
from pbt_disent.metrics.leaf_mig import LeafMIG, leaf_mig, leaf_run_mig, leaf_runs_mig
from pbt_disent.metrics.mig import MIG, MIGSup, mig, mig_sup, nmig
from pbt_disent.metrics.modularity_explicitness import Explicitness, Modularity, explicitness, modularity
from pbt_disent.metrics.mutual_information import (
    MutualInfoScore,
    discretise,
    entropies,
    mutual_info_score,
    mutual_information_matrix,
)
from pbt_disent.metrics.sap import SAP, sap
from pbt_disent.metrics.score import (
    MAXIMUM_DECODED,
    MAXIMUM_POINTS,
    MetricScore,
    applicable_metrics,
    score,
)
from pbt_disent.metrics.udr import (
    UDR,
    CoverageUDR,
    MatchedUDR,
    PopulationUDR,
    coverage_udr,
    matched_udr,
    population_udr,
    udr,
)
from pbt_disent.metrics.vae_scores import BetaVAEScore, FactorVAEScore, beta_vae, factor_vae

__all__ = [
    "BUDGETS",
    "DCI",
    "IRS",
    "MAXIMUM_DECODED",
    "MAXIMUM_POINTS",
    "METRICS",
    "MIG",
    "MINIMUM_POINTS",
    "SAP",
    "UDR",
    "BetaVAEScore",
    "CoverageUDR",
    "Distance",
    "Downstream",
    "Explicitness",
    "FactorVAEScore",
    "GaussianTotalCorrelation",
    "GaussianWassersteinCorrelation",
    "InfoMEC",
    "Interval",
    "LeafMIG",
    "MIGSup",
    "MatchedUDR",
    "Metric",
    "MetricInputs",
    "MetricResult",
    "MetricScore",
    "Modularity",
    "MutualInfoScore",
    "PopulationUDR",
    "Provenance",
    "ReconstructionError",
    "applicable_metrics",
    "beta_vae",
    "coverage_udr",
    "dci",
    "discretise",
    "downstream",
    "entropies",
    "explicitness",
    "factor_vae",
    "frechet_distance",
    "gaussian_total_correlation",
    "gaussian_wasserstein_correlation",
    "infomec",
    "interval_ends",
    "interval_over_models",
    "interval_over_points",
    "interval_over_replicas",
    "irs",
    "leaf_mig",
    "leaf_run_mig",
    "leaf_runs_mig",
    "matched_udr",
    "mig",
    "mig_sup",
    "modularity",
    "mutual_info_score",
    "mutual_information_matrix",
    "nmig",
    "population_udr",
    "reconstruction_error",
    "register_metric",
    "sap",
    "score",
    "sliced_wasserstein",
    "udr",
]
