"""Runs a model in onnxruntime over a CSV file: for each row with all values, what it gives, as JSON."""

import csv
import json
import sys

import numpy
import onnxruntime

model, sheet = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
names = session.get_modelmeta().custom_metadata_map["columns"].split("\n")


def cell(row, name):
    if " = " in name:
        column, value = name.split(" = ")
        return float(row[column] == value)
    return float(row[name])


rows, numbers = [], []
with open(sheet, newline="") as file:
    for number, row in enumerate(csv.DictReader(file)):
        try:
            rows.append([cell(row, name) for name in names])
        except ValueError:
            continue
        numbers.append(number)
(given,) = session.run(None, {"x": numpy.array(rows, dtype=numpy.float32)})
print(json.dumps({"rows": numbers, "y": given.tolist()}))
