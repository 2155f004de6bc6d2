from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbedRequest(_message.Message):
    __slots__ = ("texts", "model", "pooling", "normalize", "prompt", "dimensions", "truncate", "embeddings", "request_id", "precision", "prompt_name", "prompt_text", "task", "input_type", "keep_alive")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_NAME_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TEXT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUT_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    model: str
    pooling: str
    normalize: bool
    prompt: str
    dimensions: int
    truncate: str
    embeddings: _containers.RepeatedCompositeFieldContainer[Vector]
    request_id: str
    precision: str
    prompt_name: str
    prompt_text: str
    task: str
    input_type: str
    keep_alive: float
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., pooling: _Optional[str] = ..., normalize: _Optional[bool] = ..., prompt: _Optional[str] = ..., dimensions: _Optional[int] = ..., truncate: _Optional[str] = ..., embeddings: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ..., request_id: _Optional[str] = ..., precision: _Optional[str] = ..., prompt_name: _Optional[str] = ..., prompt_text: _Optional[str] = ..., task: _Optional[str] = ..., input_type: _Optional[str] = ..., keep_alive: _Optional[float] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("model", "dimension", "vectors", "token_counts", "truncated", "fingerprint", "timings", "request_id", "precision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    model: str
    dimension: int
    vectors: bytes
    token_counts: _containers.RepeatedScalarFieldContainer[int]
    truncated: _containers.RepeatedScalarFieldContainer[bool]
    fingerprint: str
    timings: Timings
    request_id: str
    precision: str
    def __init__(self, model: _Optional[str] = ..., dimension: _Optional[int] = ..., vectors: _Optional[bytes] = ..., token_counts: _Optional[_Iterable[int]] = ..., truncated: _Optional[_Iterable[bool]] = ..., fingerprint: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., request_id: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("tokenize", "queue", "compute", "total")
    TOKENIZE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    tokenize: float
    queue: float
    compute: float
    total: float
    def __init__(self, tokenize: _Optional[float] = ..., queue: _Optional[float] = ..., compute: _Optional[float] = ..., total: _Optional[float] = ...) -> None: ...

class RerankRequest(_message.Message):
    __slots__ = ("query", "texts", "model", "top_k", "activation", "instruction", "max_over_passages", "truncate", "request_id", "keep_alive")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    MAX_OVER_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    query: str
    texts: _containers.RepeatedScalarFieldContainer[str]
    model: str
    top_k: int
    activation: str
    instruction: str
    max_over_passages: bool
    truncate: str
    request_id: str
    keep_alive: float
    def __init__(self, query: _Optional[str] = ..., texts: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., top_k: _Optional[int] = ..., activation: _Optional[str] = ..., instruction: _Optional[str] = ..., max_over_passages: _Optional[bool] = ..., truncate: _Optional[str] = ..., request_id: _Optional[str] = ..., keep_alive: _Optional[float] = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("model", "indices", "scores", "token_counts", "truncated", "fingerprint", "timings", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    indices: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    token_counts: _containers.RepeatedScalarFieldContainer[int]
    truncated: _containers.RepeatedScalarFieldContainer[bool]
    fingerprint: str
    timings: Timings
    request_id: str
    def __init__(self, model: _Optional[str] = ..., indices: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., token_counts: _Optional[_Iterable[int]] = ..., truncated: _Optional[_Iterable[bool]] = ..., fingerprint: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class EmbedStreamResponse(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: EmbedResponse
    error: Error
    def __init__(self, response: _Optional[_Union[EmbedResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("message", "type", "code", "field", "limit", "retry_after", "request_id")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    message: str
    type: str
    code: int
    field: str
    limit: float
    retry_after: int
    request_id: str
    def __init__(self, message: _Optional[str] = ..., type: _Optional[str] = ..., code: _Optional[int] = ..., field: _Optional[str] = ..., limit: _Optional[float] = ..., retry_after: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("version", "limits", "models", "rerankers")
    class LimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    RERANKERS_FIELD_NUMBER: _ClassVar[int]
    version: str
    limits: _containers.ScalarMap[str, float]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    rerankers: _containers.RepeatedCompositeFieldContainer[Reranker]
    def __init__(self, version: _Optional[str] = ..., limits: _Optional[_Mapping[str, float]] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., rerankers: _Optional[_Iterable[_Union[Reranker, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "default", "dimension", "max_tokens", "pooling", "normalize", "truncate", "prompts", "fingerprint", "model_max_tokens", "architecture", "state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    MODEL_MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    default: bool
    dimension: int
    max_tokens: int
    pooling: str
    normalize: bool
    truncate: str
    prompts: _containers.RepeatedScalarFieldContainer[str]
    fingerprint: str
    model_max_tokens: int
    architecture: str
    state: str
    def __init__(self, name: _Optional[str] = ..., default: _Optional[bool] = ..., dimension: _Optional[int] = ..., max_tokens: _Optional[int] = ..., pooling: _Optional[str] = ..., normalize: _Optional[bool] = ..., truncate: _Optional[str] = ..., prompts: _Optional[_Iterable[str]] = ..., fingerprint: _Optional[str] = ..., model_max_tokens: _Optional[int] = ..., architecture: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class Reranker(_message.Message):
    __slots__ = ("name", "default", "max_tokens", "activation", "truncate", "instruction", "fingerprint", "model_max_tokens", "architecture", "state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    MODEL_MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    default: bool
    max_tokens: int
    activation: str
    truncate: str
    instruction: str
    fingerprint: str
    model_max_tokens: int
    architecture: str
    state: str
    def __init__(self, name: _Optional[str] = ..., default: _Optional[bool] = ..., max_tokens: _Optional[int] = ..., activation: _Optional[str] = ..., truncate: _Optional[str] = ..., instruction: _Optional[str] = ..., fingerprint: _Optional[str] = ..., model_max_tokens: _Optional[int] = ..., architecture: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...
