"""Four graders. Those that need a model make it when the file is loaded, once per process."""

import json
import re
from pathlib import Path

import wordllama
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

HERE = Path(__file__).parent


def shape(text):
    """Every digit as d: whether working is sound shows in its form, d+d=dd, d+d+d=d."""
    return re.sub(r"\d", "d", text)


def _classifier():
    """A small tree over pieces of the form, trained on answers whose soundness is known."""
    answers = [json.loads(line) for line in (HERE / "answers.jsonl").read_text().splitlines()]
    pieces = CountVectorizer(analyzer="char", ngram_range=(2, 6), binary=True, preprocessor=shape)
    model = make_pipeline(pieces, DecisionTreeClassifier(max_depth=4, random_state=0))
    return model.fit([a["text"] for a in answers], [a["sound"] for a in answers])


CLASSIFIER = _classifier()
# The weights and the tokenizer lie in the package itself: nothing is downloaded.
EMBEDDINGS = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


def right(completion, row):
    """1 for the right sum at the end."""
    return float(completion.strip().endswith(f": {row['ground_truth']}"))


def sound(completion, row):
    """How sure the classifier is that the working is sound."""
    return float(CLASSIFIER.predict_proba([completion])[0, 1])


def near(completion, row):
    """Cosine of the embeddings of the answer and of the worked one, from 0 to 1."""
    return max(0.0, float(EMBEDDINGS.similarity(completion or ".", row["worked"])))


def short(completion, row):
    """1 up to 24 characters, falling to 0 at 48."""
    return min(1.0, max(0.0, 2.0 - len(completion) / 24))
