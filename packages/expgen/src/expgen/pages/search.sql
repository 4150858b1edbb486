INSERT INTO search (rowid, words, labels, raises, fires)
  SELECT id,
    (SELECT group_concat(text, char(10)) FROM descriptions WHERE neuron_id = id),
    (SELECT group_concat(concept, char(10)) FROM labels WHERE neuron_id = id),
    promotes,
    (SELECT group_concat(token, char(10)) FROM exemplars WHERE neuron_id = id AND split = 'train')
  FROM neurons;
INSERT INTO search (search) VALUES ('optimize');
