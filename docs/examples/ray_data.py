"""Classify a folder's images with Ray Data, on all machines of a cluster, into Parquet.

    python ray_data.py --model res2net101_26w_4s --actors 8 --gpus 1 photos/ predictions/

Each machine needs r2n_kernels with its extra `ray`. Files are read by tasks of their own, which
need CPUs that no actor takes. `r2n_kernels.batch.ray.ray_rows` does the same in input order.
"""

from __future__ import annotations

import argparse

import ray

from r2n_kernels.batch import Classifier


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("output")
    parser.add_argument("--model", default="res2net101_26w_4s")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--gpus", type=float, default=0, help="of each actor")
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    images = ray.data.read_binary_files(args.folder, include_paths=True)
    rows = images.map_batches(
        Classifier,
        fn_constructor_kwargs={"model": args.model},
        concurrency=args.actors,
        num_gpus=args.gpus,
        batch_size=args.batch_size,
        batch_format="pyarrow",  # whose columns have one type in every block
    )
    rows.write_parquet(args.output)


if __name__ == "__main__":
    main()
