"""Open Inference Protocol v2 over REST, with binary tensors, as Triton, KServe and their clients speak it.

    POST /v2/models/{m}[/versions/{v}]/infer     Codec(facts), and refuse(refusal, request) for what it refuses
    everything else under /v2                    metadata

What a model looks like from outside (ports):

    image, or table of plain numbers       one input, `inputs`: FP32 [-1, *row]; any numeric datatype is taken and cast.
                                           A table also takes one input for each of its features instead, [-1] or [-1, 1]
    table with anything else               one input for each feature, [-1, 1] or [-1]: FP64 for a number (NaN: missing, in
                                           binary), BOOL or BYTES for a boolean, BYTES for a category or a date
    classification                         `probabilities` FP32 [-1, classes] and `label` BYTES [-1]
    multilabel                             `probabilities` FP32 [-1, classes]
    regression                             `values` FP32 [-1, outputs], in the target's unit
"""

from serving.protocols.open_inference.codec import Codec, refuse

__all__ = ["Codec", "refuse"]
