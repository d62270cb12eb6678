"""Configuration: what can be set (`sections`), and how files and the command line become one checked object (`load`).

config = load(Path("configs/digits.yaml"), ["train.epochs=3"])
config.train.epochs
"""

from pipeline.config.load import load, load_section
from pipeline.config.mlflow_settings import MlflowSettings
from pipeline.config.render import base_yaml, flatten, resolved_yaml
from pipeline.config.sections import Config

__all__ = ["Config", "MlflowSettings", "base_yaml", "flatten", "load", "load_section", "resolved_yaml"]
