"""Classify a folder's images with Spark: every task makes the model once, rows go to Parquet.

    spark-submit spark_classify.py --model res2net101_26w_4s photos/ predictions.parquet

Each machine needs r2n_kernels, pyarrow and pandas.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import SparkSession

from r2n_kernels.batch import Classifier

SCHEMA = (
    "path string, status string, error string, "
    "top_index array<bigint>, top_label array<string>, top_probability array<float>"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("output")
    parser.add_argument("--model", default="res2net101_26w_4s")
    args = parser.parse_args()
    classifier = Classifier(args.model, workers=1)  # Spark has a task for each core

    def classify(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            yield classifier(frame.rename(columns={"content": "bytes"}))

    spark = SparkSession.builder.appName("classify").getOrCreate()
    # rows of content are large: few at once
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 64)
    images = spark.read.format("binaryFile").load(args.folder).select("path", "content")
    images.mapInPandas(classify, SCHEMA).write.mode("overwrite").parquet(args.output)
    spark.stop()


if __name__ == "__main__":
    main()
