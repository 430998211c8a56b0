"""Vowpal Wabbit over a file of labelled texts: log-loss and rate as one line of JSON.

Its input is prepared before the clock starts: lower-cased words in its own format, of which it
makes the same words and pairs that our learner makes of the text.
"""

import json
import math
import re
import resource
import sys
import tempfile
from pathlib import Path

from vowpalwabbit import Workspace


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


with tempfile.TemporaryDirectory() as folder:
    data, said = Path(folder) / "texts.vw", Path(folder) / "said"
    labels = []
    with open(data, "w") as out:
        for line in open(sys.argv[1], encoding="utf-8"):
            label, text = line.rstrip("\n").split("\t")[:2]
            words = " ".join(re.findall(r"[^\W_]+", text.lower()))
            labels.append(label == "1")
            out.write(("1" if label == "1" else "-1") + " |t " + words + "\n")
    before = cpu()
    learner = Workspace(
        f"-d {data} -p {said} -b 20 --loss_function logistic --link logistic"
        " --holdout_off --ngram t2 -l 1 --quiet"
    )
    if hasattr(learner, "run_driver"):
        learner.run_driver()
    learner.finish()
    used = cpu() - before
    chances = [float(line.split()[0]) for line in open(said)]

losses = [max(1e-15, p if label else 1 - p) for p, label in zip(chances, labels, strict=True)]
print(
    json.dumps(
        {
            "records_per_cpu_second": len(labels) / used,
            "log_loss": -sum(map(math.log, losses)) / len(labels),
        }
    )
)
