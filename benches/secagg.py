#!/usr/bin/env python3
"""What one vector costs under Flower's SecAgg+, beside a proved one of DISPERS, measured in one run.

    python3 -m venv /tmp/flower && /tmp/flower/bin/pip install flwr numpy
    cargo build --release
    /tmp/flower/bin/python benches/secagg.py .build/release/dispers

The primitives are those that Flower's client mod and server workflow call, in their order, with its defaults
for quantisation. Each client has so many neighbours as --shares says, itself included. Nothing travels: this is
computation and size alone.
"""

import argparse
import json
import os
import subprocess
import time

import numpy as np
from flwr.common import ndarray_to_bytes
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import (
    decrypt,
    encrypt,
    generate_shared_key,
)
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    parameters_addition,
    parameters_mod,
    parameters_multiply,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_utils import (
    pseudo_rand_gen,
    share_keys_plaintext_concat,
    share_keys_plaintext_separate,
)
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)

CLIPPING, TARGET, MODULUS = 8.0, 1 << 22, 1 << 32


class Client:
    """One client, and the processor time and bytes that it spent."""

    def __init__(self, number):
        self.number, self.seconds, self.sent = number, 0.0, 0

    def timed(self, work, *arguments):
        start = time.process_time()
        result = work(*arguments)
        self.seconds += time.process_time() - start
        return result

    def keys(self):
        pairs = [generate_key_pairs() for _ in range(2)]
        self.secrets = [private_key_to_bytes(secret) for secret, _ in pairs]
        self.publics = [public_key_to_bytes(public) for _, public in pairs]
        self.sent += sum(map(len, self.publics))

    def share(self, clients, threshold):
        self.seed = os.urandom(32)
        seeds = create_shares(self.seed, threshold, len(clients))
        secrets = create_shares(self.secrets[0], threshold, len(clients))
        self.shares = {self.number: (seeds[0], secrets[0])}
        self.keys_of, sealed = {}, {}
        others = [client for client in clients if client is not self]
        for client, seed, secret in zip(others, seeds[1:], secrets[1:]):
            public = bytes_to_public_key(client.publics[1])
            key = generate_shared_key(bytes_to_private_key(self.secrets[1]), public)
            self.keys_of[client.number] = key
            text = share_keys_plaintext_concat(self.number, client.number, seed, secret)
            sealed[client.number] = encrypt(key, text)
        self.sent += sum(map(len, sealed.values()))
        return sealed

    def mask(self, clients, received, update):
        for source, sealed in received.items():
            _, _, seed, secret = share_keys_plaintext_separate(decrypt(self.keys_of[source], sealed))
            self.shares[source] = (seed, secret)
        vectors = quantize(parameters_multiply([update], 1.0), CLIPPING, TARGET)
        vectors = factor_combine(1, vectors)
        shapes = [vector.shape for vector in vectors]
        vectors = parameters_addition(vectors, pseudo_rand_gen(self.seed, MODULUS, shapes))
        for client in clients:
            if client is self:
                continue
            public = bytes_to_public_key(client.publics[0])
            key = generate_shared_key(bytes_to_private_key(self.secrets[0]), public)
            mask = pseudo_rand_gen(key, MODULUS, shapes)
            change = parameters_addition if self.number > client.number else parameters_subtraction
            vectors = change(vectors, mask)
        vectors = parameters_mod(vectors, MODULUS)
        self.sent += sum(len(ndarray_to_bytes(vector)) for vector in vectors)
        return vectors


def server(clients, masked, lost, threshold):
    """Seconds for a client that stayed, and for one that was lost after it had shared its keys."""
    shapes = [vector.shape for vector in masked]
    start = time.process_time()
    seed = combine_shares([client.shares[0][0] for client in clients[:threshold]])
    total = parameters_addition(masked, masked)
    total = parameters_subtraction(total, pseudo_rand_gen(seed, MODULUS, shapes))
    stayed = time.process_time() - start
    start = time.process_time()
    secret = combine_shares([client.shares[lost][1] for client in clients[:threshold]])
    for client in clients:
        if client.number == lost:
            continue
        public = bytes_to_public_key(client.publics[0])
        key = generate_shared_key(bytes_to_private_key(secret), public)
        total = parameters_addition(total, pseudo_rand_gen(key, MODULUS, shapes))
    return stayed, time.process_time() - start


def measure(length, shares, threshold):
    clients = [Client(number) for number in range(shares)]
    for client in clients:
        client.timed(client.keys)
    sealed = [client.timed(client.share, clients, threshold) for client in clients]
    masked = None
    for client in clients:
        received = {source: of[client.number] for source, of in enumerate(sealed) if source != client.number}
        masked = client.timed(client.mask, clients, received, np.random.uniform(-1, 1, length))
    stayed, lost = server(clients, masked, 1, threshold)
    return {
        "client_ms": 1e3 * sum(client.seconds for client in clients) / shares,
        "upload": sum(client.sent for client in clients) / shares,
        "stayed_ms": 1e3 * stayed,
        "lost_ms": 1e3 * lost,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dispers", help="the dispers program, built for release")
    parser.add_argument("--shares", type=int, default=31, help="neighbours of a client, itself included")
    parser.add_argument("--threshold", type=int, default=16, help="of them needed to unmask")
    arguments = parser.parse_args()
    bench = [arguments.dispers, "bench", "training", "--pieces", "--format", "json"]
    vectors = json.loads(subprocess.run(bench, check=True, stdout=subprocess.PIPE).stdout)["vectors"]
    print(f"SecAgg+ with {arguments.shares} shares, of which {arguments.threshold} are needed")
    print("             client ms          sent KiB        server ms a client that")
    print("coordinates  SecAgg+  DISPERS  SecAgg+  DISPERS  stays  is lost   DISPERS, each of 3")
    for vector in vectors:
        if not vector["proofs"] or vector["homes_per_host"] == 1:
            continue
        flower = measure(vector["coordinates"], arguments.shares, arguments.threshold)
        print(
            f"{vector['coordinates']:11} {flower['client_ms']:8.1f} {vector['home_ms']:8.1f}"
            f" {flower['upload'] / 1024:8.1f} {vector['upload_bytes'] / 1024:8.1f}"
            f" {flower['stayed_ms']:6.2f} {flower['lost_ms']:8.2f} {vector['aggregator_ms']:20.2f}"
        )


if __name__ == "__main__":
    main()
