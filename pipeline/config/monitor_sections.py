"""What is watched while a network trains, and how much that may cost."""

from pydantic import Field

from pipeline.config.section import Fraction, Positive, Section


class MonitorConfig(Section):
    """What is watched in training. Nothing here changes the weights."""

    max_overhead: Fraction = Field(
        0.05, description="share of training time for monitors; histograms and images give way first"
    )
    top_k: Positive | None = Field(5, description="accuracy of the k likeliest classes, where there are more; null: off")
    per_class: bool = Field(True, description="precision, recall and F1 of each class, each epoch, for up to 50 classes")
    train_in_eval_mode: bool = Field(
        False, description="measure train rows again after each epoch; without it they are averaged while weights change"
    )
    layers: bool = Field(True, description="norms, means and variances of gradients, norms and updates of weights, by layer")
    layers_every_steps: Positive = Field(20, description="steps between two looks at the layers")
    activations: bool = Field(True, description="share of dead, near-zero and saturated units, by layer, after each epoch")
    step_losses: int = Field(20, ge=0, description="smoothed losses of single steps kept for each epoch; 0: none")
    histograms_every: Positive | None = Field(5, description="epochs between histograms of weights and gradients; null: off")
    images_every: Positive | None = Field(5, description="epochs between images and curves; null: off")
    image_rows: Positive = Field(
        8, description="validation rows whose feature maps are shown; misclassified rows shown at most"
    )
    feature_layers: tuple[str, ...] = Field(
        (),
        strict=False,
        description="layers whose feature maps are shown, as in the layer table; empty: the first and the last",
    )
    graph: bool = Field(True, description="the network as a graph")
    embedding: bool = Field(False, description="what the last layer is given for validation rows, for the embedding projector")
