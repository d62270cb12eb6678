"""What mlflow.yaml may say: where experiments are kept, and how they are shown."""

from pydantic import Field

from pipeline.config.section import Section


class RegistryConfig(Section):
    """The MLflow model registry."""

    model_name: str = Field("slipway", min_length=1, description="registered model's name")


class UiConfig(Section):
    """The MLflow UI."""

    host: str = Field("127.0.0.1", description="address of `make mlflow`")
    port: int = Field(5000, ge=1, le=65535, description="port of `make mlflow`")


class MlflowSettings(Section):
    """Content of mlflow.yaml: where experiments are kept and shown."""

    tracking_uri: str | None = Field("sqlite:///mlflow.db", min_length=1, description="store of runs; null: no MLflow")
    experiment: str = Field("slipway", min_length=1, description="experiment's name")
    wandb_project: str | None = Field(
        None,
        min_length=1,
        description="also log to this Weights & Biases project; offline unless WANDB_MODE says otherwise; "
        "needs `pip install slipway[wandb]`",
    )
    artifact_location: str = Field("mlartifacts", min_length=1, description="folder or URI of logged files")
    model_registry: RegistryConfig = RegistryConfig()
    ui: UiConfig = UiConfig()
