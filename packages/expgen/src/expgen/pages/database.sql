PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE neurons (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  model TEXT NOT NULL, source TEXT NOT NULL, layer INTEGER NOT NULL, neuron INTEGER NOT NULL, polarity TEXT NOT NULL,
  mean REAL, std REAL, low REAL, high REAL,
  q001 REAL, q01 REAL, q10 REAL, q50 REAL, q90 REAL, q99 REAL, q999 REAL,
  peak REAL, density REAL, alive INTEGER NOT NULL,
  promotes TEXT, suppresses TEXT
);
CREATE INDEX neurons_of ON neurons (source, layer, neuron);
CREATE TABLE descriptions (
  neuron_id INTEGER NOT NULL REFERENCES neurons, candidate INTEGER NOT NULL, explainer TEXT NOT NULL,
  text TEXT, status TEXT NOT NULL, reason TEXT, chosen INTEGER NOT NULL,
  scorer TEXT, score REAL, low REAL, high REAL, null_other REAL, null_empty REAL, null_lookup REAL,
  PRIMARY KEY (neuron_id, candidate)
) WITHOUT ROWID;
CREATE TABLE scores (
  neuron_id INTEGER NOT NULL REFERENCES neurons, candidate INTEGER NOT NULL, kind TEXT NOT NULL, scorer TEXT NOT NULL,
  split TEXT NOT NULL, value REAL, low REAL, high REAL, n INTEGER, status TEXT NOT NULL, reason TEXT
);
CREATE INDEX scores_of ON scores (neuron_id);
CREATE TABLE labels (
  neuron_id INTEGER NOT NULL REFERENCES neurons, concept TEXT NOT NULL, score REAL, judge TEXT NOT NULL, rationale TEXT,
  auroc REAL, auroc_low REAL, auroc_high REAL, validated INTEGER
);
CREATE INDEX labels_of ON labels (neuron_id);
CREATE TABLE sequences (
  split TEXT NOT NULL, sequence INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (split, sequence)
) WITHOUT ROWID;
CREATE TABLE peaks (
  neuron_id INTEGER NOT NULL REFERENCES neurons, split TEXT NOT NULL, rank INTEGER NOT NULL, sequence INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, strength REAL NOT NULL,
  PRIMARY KEY (neuron_id, split, rank)
) WITHOUT ROWID;
CREATE VIEW exemplars AS
  SELECT neuron_id, split, rank, text, substr(text, first + 1, last - first) AS token, strength, first, last
  FROM peaks JOIN sequences USING (split, sequence);
CREATE VIEW best AS
  SELECT neurons.*, descriptions.text AS description, candidate, explainer, scorer, score,
    descriptions.low AS score_low, descriptions.high AS score_high, null_other, null_empty, null_lookup
  FROM neurons LEFT JOIN descriptions ON neuron_id = id AND chosen;
CREATE VIRTUAL TABLE search USING fts5(
  words, labels, raises, fires, content = '', tokenize = 'porter unicode61'
);
