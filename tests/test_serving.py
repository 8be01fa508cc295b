"""The requests of docs/serving.md, over HTTP and gRPC, answered from a SavedModel.

TensorFlow Serving itself cannot be run here. The servers below answer by its published
formats: REST's requests and answers by columns, gRPC's Predict with Serving's protos.
"""

import contextlib
import http.server
import json
import pathlib
import re
import threading
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY

from tf_dvdgan import config, export, trained
from tf_dvdgan.data import windows
from tf_dvdgan.models import video_gan

pytestmark = pytest.mark.usefixtures("quick_graphs")

DOCUMENT = pathlib.Path(__file__).parent.parent / "docs" / "serving.md"
NAMES = [f"{path}Circle" for path in ("Horizontal", "Vertical", "Round")] + list(
    "abcdef"
)
VIDEOS = (4, 16, 16, 3)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> str:
    config.load([TINY])
    gan = video_gan.from_config(NAMES)
    gan.build()
    model = trained.TrainedModel(gan, NAMES, 2000, windows.Window(4, 16))
    folder = str(tmp_path_factory.mktemp("export") / "2000")
    export.export(model, folder, (0.5, 1.0), num_batches=1, batch_size=4)
    return folder


@pytest.fixture(scope="module")
def served(saved_model):
    return tf.saved_model.load(saved_model)


def run_example(name: str, *replaced: tuple[str, str]) -> dict:
    """Runs one of the document's examples; gives what it has defined."""
    text = DOCUMENT.read_text()
    code = re.search(rf"<!-- tested: {name} -->\n```python\n(.*?)```", text, re.S)[1]
    for old, new in replaced:
        assert old in code
        code = code.replace(old, new)
    found = {}
    exec(code, found)
    return found


def checked(function, inputs: dict) -> dict[str, tf.Tensor]:
    """Inputs of a signature: all that it requires, of its types and shapes."""
    specs = function.structured_input_signature[1]
    assert inputs.keys() == specs.keys()
    tensors = {}
    for name, value in inputs.items():
        tensors[name] = tf.constant(value, specs[name].dtype)
        assert specs[name].shape.is_compatible_with(tensors[name].shape)
    return tensors


@contextlib.contextmanager
def rest_server(signatures):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/models/video:predict"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            function = signatures[body["signature_name"]]
            outputs = function(**checked(function, body["inputs"]))
            [only] = outputs.values()
            data = json.dumps({"outputs": only.numpy().tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def test_the_example_in_python(saved_model):
    found = run_example("local", ("RUN/export/2000", saved_model))
    assert found["videos"].shape == (4, *VIDEOS)
    assert found["videos"].dtype == found["between"].dtype == tf.uint8
    assert found["between"].shape == (1, *VIDEOS)


def test_rest_requests_have_the_shapes_of_the_signatures(served, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost")
    with rest_server(served.signatures) as port:
        found = run_example("rest", ("localhost:8501", f"localhost:{port}"))
    assert found["videos"].shape == found["again"].shape == (2, *VIDEOS)
    assert np.abs(found["videos"].astype(int) - found["again"]).max() <= 1


def test_grpc_requests_have_the_shapes_of_the_signatures(served):
    reason = "tensorflow-serving-api is not installed"
    pytest.importorskip("tensorflow_serving", reason=reason)
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            assert request.model_spec.name == "video"
            function = served.signatures[request.model_spec.signature_name]
            specs = function.structured_input_signature[1]
            given = {name: tf.make_ndarray(p) for name, p in request.inputs.items()}
            for name, value in given.items():  # gRPC converts no type
                assert specs[name].dtype == value.dtype
            response = predict_pb2.PredictResponse()
            for name, value in function(**checked(function, given)).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Servicer(), server
    )
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        found = run_example("grpc", ("localhost:8500", f"localhost:{port}"))
    finally:
        server.stop(None)
    assert found["videos"].shape == (2, *VIDEOS)
    assert found["videos"].dtype == np.uint8


def test_every_signature_is_in_the_document(served):
    text = DOCUMENT.read_text()
    for name, function in served.signatures.items():
        assert f"`{name}`" in text
        for put in (
            *function.structured_input_signature[1],
            *function.structured_outputs,
        ):
            assert f"`{put}`" in text, (name, put)
