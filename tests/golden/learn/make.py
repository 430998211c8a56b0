#!/usr/bin/env python3
"""Makes the golden files of this folder from River's bundled data sets and learners.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install river==0.26.1
    /tmp/venv/bin/python tests/golden/learn/make.py

For each data set `<name>.csv` holds the features and the label (0 or 1) in River's order, and
`<name>.json` what every model came to, progressively validated: each row is predicted first and
learned from afterwards. Invariant: nothing here is random, so a second run writes the same bytes.
"""

import json
from itertools import islice
from pathlib import Path

from river import datasets, linear_model, metrics, optim, preprocessing

HERE = Path(__file__).parent
# Every so many rows the probability given is kept, besides the two averages over all rows.
PROBABILITY_EVERY = 97

DATA = {
    "phishing": lambda: datasets.Phishing(),
    "bananas": lambda: datasets.Bananas(),
    # The whole set is 1.4 MB; its first rows are enough to pin the arithmetic on large integers.
    "shuttle": lambda: islice(datasets.Shuttle(), 8_000),
}

MODELS = {
    "LR-SGD(0.05)": lambda: linear_model.LogisticRegression(optim.SGD(0.05)),
    "LR-AdaGrad(0.1)": lambda: linear_model.LogisticRegression(optim.AdaGrad(0.1)),
    "PA-I(C=0.01)": lambda: linear_model.PAClassifier(C=0.01, mode=1),
    "PA-I(C=1)": lambda: linear_model.PAClassifier(C=1.0, mode=1),
}


def rows(name):
    """The rows of a data set as (features, label), the features in one order throughout."""
    names = None
    for x, y in DATA[name]():
        names = names or list(x)
        assert list(x) == names
        yield [float(x[feature]) for feature in names], bool(y)


def number(value):
    """The shortest text that reads back as the same number."""
    return repr(int(value)) if value == int(value) else repr(value)


def validate(name, learner):
    """Progressive validation of `StandardScaler | learner` over one data set."""
    model = preprocessing.StandardScaler() | learner
    accuracy, log_loss = metrics.Accuracy(), metrics.LogLoss()
    probabilities = []
    for index, (features, y) in enumerate(rows(name)):
        x = dict(enumerate(features))
        p = model.predict_proba_one(x)
        accuracy.update(y, max(p, key=p.get))
        log_loss.update(y, p)
        if index % PROBABILITY_EVERY == 0:
            probabilities.append([index, p[True]])
        model.learn_one(x, y)
    return {
        "accuracy": accuracy.get(),
        "log_loss": log_loss.get(),
        "probabilities": probabilities,
    }


def main():
    """Writes both files of every data set."""
    for name in DATA:
        with (HERE / f"{name}.csv").open("w", newline="\n") as out:
            for features, y in rows(name):
                out.write(",".join(map(number, features)) + f",{int(y)}\n")
        results = {label: validate(name, make()) for label, make in MODELS.items()}
        with (HERE / f"{name}.json").open("w", newline="\n") as out:
            out.write(json.dumps(results, separators=(",", ":")).replace('},"', '},\n"') + "\n")
        for label, result in results.items():
            print(name, label, result["accuracy"], result["log_loss"])


if __name__ == "__main__":
    main()
