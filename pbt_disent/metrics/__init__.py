"""Every metric as a pure function of arrays: `mig(codes, factors).score`; several at once: `score(codes, factors)`.

N points, Z latents, K factors, M models. Importing this package imports numpy and nothing heavier: torch, scipy and
scikit-learn are imported by the functions that need them, when they are called.
"""

from __future__ import annotations

from pbt_disent.metrics._arrays import MINIMUM_POINTS
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import BUDGETS, Record, Result
from pbt_disent.metrics.beta_vae import BetaVAEScore, beta_vae
from pbt_disent.metrics.dci import DCI, dci
from pbt_disent.metrics.downstream import Downstream, downstream
from pbt_disent.metrics.explicitness import Explicitness, explicitness
from pbt_disent.metrics.factor_vae import FactorVAEScore, factor_vae
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
from pbt_disent.metrics.leaf_mig import LeafMIG, leaf_mig, leaf_run_mig, leaf_runs_mig, nmig
from pbt_disent.metrics.mig import MIG, mig
from pbt_disent.metrics.mig_sup import MIGSup, mig_sup
from pbt_disent.metrics.modularity import Modularity, modularity
from pbt_disent.metrics.mutual_info_score import MutualInfoScore, mutual_info_score
from pbt_disent.metrics.mutual_information import discretise, entropies, mutual_information_matrix
from pbt_disent.metrics.sap import SAP, sap
from pbt_disent.metrics.score import Scored, applicable, score
from pbt_disent.metrics.udr import UDR, udr
from pbt_disent.metrics.udr_options import (
    CoverageUDR,
    MatchedUDR,
    PopulationUDR,
    coverage_udr,
    matched_udr,
    population_udr,
)

__all__ = [
    "BUDGETS",
    "DCI",
    "IRS",
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
    "Inputs",
    "Interval",
    "LeafMIG",
    "MIGSup",
    "MatchedUDR",
    "Metric",
    "Modularity",
    "MutualInfoScore",
    "PopulationUDR",
    "ReconstructionError",
    "Record",
    "Result",
    "Scored",
    "applicable",
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
    "sap",
    "score",
    "sliced_wasserstein",
    "udr",
]
