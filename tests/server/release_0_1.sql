-- A database as release 0.1 left it, before it had revisions.
-- Its key is tml-uVVCAPVryvjoxWWBXVvqsLwzKse229LUP6e16JNue2Q
BEGIN TRANSACTION;
CREATE TABLE checkpoints (
	path VARCHAR(300) NOT NULL,
	model_id VARCHAR(128) NOT NULL,
	owner VARCHAR(200) NOT NULL,
	kind VARCHAR NOT NULL,
	name VARCHAR NOT NULL,
	folder VARCHAR NOT NULL,
	base_model VARCHAR NOT NULL,
	rank INTEGER NOT NULL,
	train_attn BOOLEAN NOT NULL,
	train_mlp BOOLEAN NOT NULL,
	train_unembed BOOLEAN NOT NULL,
	inflight BOOLEAN NOT NULL,
	size_bytes INTEGER NOT NULL,
	public BOOLEAN NOT NULL,
	user_metadata JSON NOT NULL,
	created_at DOUBLE NOT NULL,
	expires_at DOUBLE,
	PRIMARY KEY (path)
);
CREATE TABLE datasets (
	owner VARCHAR(200) NOT NULL,
	id VARCHAR(63) NOT NULL,
	"key" VARCHAR NOT NULL,
	display_name VARCHAR NOT NULL,
	kind VARCHAR NOT NULL,
	state VARCHAR NOT NULL,
	num_bytes INTEGER NOT NULL,
	verdicts JSON NOT NULL,
	asked JSON NOT NULL,
	created_at VARCHAR NOT NULL,
	updated_at VARCHAR NOT NULL,
	PRIMARY KEY (owner, id)
);
INSERT INTO "datasets" VALUES('ann','sums','84a6a2395f7efd257c50fd30','','','READY',760,'{"": {"rows": 8, "num_problems": 0, "problems": [], "whole_file": false, "refusal": "", "mend": "", "notes": []}, "sft": {"rows": 8, "num_problems": 0, "problems": [], "whole_file": false, "refusal": "", "mend": "", "notes": []}}','{}','2026-11-29T13:45:47.282Z','2026-11-29T13:45:47.329Z');
CREATE TABLE job_events (
	number INTEGER NOT NULL,
	job_id VARCHAR(64) NOT NULL,
	at VARCHAR NOT NULL,
	kind VARCHAR(16) NOT NULL,
	level VARCHAR(16) NOT NULL,
	from_state VARCHAR(16) NOT NULL,
	to_state VARCHAR(16) NOT NULL,
	text VARCHAR NOT NULL,
	PRIMARY KEY (number),
	FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "job_events" VALUES(1,'job-80b1ae226b5394c071f0','2026-11-29T13:45:47.336Z','move','info','','created','');
INSERT INTO "job_events" VALUES(2,'job-80b1ae226b5394c071f0','2026-11-29T13:45:47.337Z','move','info','created','validating','');
INSERT INTO "job_events" VALUES(3,'job-80b1ae226b5394c071f0','2026-11-29T13:45:47.337Z','move','info','validating','queued','');
INSERT INTO "job_events" VALUES(4,'job-80b1ae226b5394c071f0','2026-11-29T13:45:47.348Z','move','info','queued','cancelled','by request');
CREATE TABLE jobs (
	id VARCHAR(64) NOT NULL,
	owner VARCHAR(200) NOT NULL,
	kind VARCHAR(8) NOT NULL,
	name VARCHAR(63) NOT NULL,
	display_name VARCHAR NOT NULL,
	settings JSON NOT NULL,
	asked JSON NOT NULL,
	user_code BOOLEAN NOT NULL,
	dataset VARCHAR(63) NOT NULL,
	evaluation_dataset VARCHAR(63),
	output_model VARCHAR(128) NOT NULL,
	state VARCHAR(16) NOT NULL,
	reason VARCHAR NOT NULL,
	created_at VARCHAR NOT NULL,
	updated_at VARCHAR NOT NULL,
	started_at VARCHAR,
	ended_at VARCHAR,
	fence INTEGER NOT NULL,
	beats INTEGER NOT NULL,
	turn INTEGER NOT NULL,
	stalled INTEGER NOT NULL,
	last_step INTEGER NOT NULL,
	request_key VARCHAR(255),
	fingerprint VARCHAR(64) NOT NULL,
	retried BOOLEAN NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (owner, kind, name),
	UNIQUE (owner, request_key)
);
INSERT INTO "jobs" VALUES('job-80b1ae226b5394c071f0','ann','sft','job-80b1ae226b5394c071f0','','{"base_model": "tunesmith/embedded", "epochs": 1, "lora_rank": 4}','{}',0,'sums',NULL,'job-80b1ae226b5394c071f0','cancelled','by request','2026-11-29T13:45:47.314Z','2026-11-29T13:45:47.348Z',NULL,'2026-11-29T13:45:47.348Z',0,0,0,0,0,NULL,'2849127d7d8ddd6c55f7a63edc93a251638f53dafaf984b625f91ae45eaf96a7',0);
CREATE TABLE keys (
	id VARCHAR NOT NULL,
	owner VARCHAR NOT NULL,
	name VARCHAR NOT NULL,
	hash VARCHAR NOT NULL,
	prefix VARCHAR NOT NULL,
	created_at VARCHAR NOT NULL,
	last_used_at VARCHAR,
	revoked_at VARCHAR,
	PRIMARY KEY (id),
	UNIQUE (hash)
);
INSERT INTO "keys" VALUES('key-9ed8a53f','ann','laptop','ae7e7ee116bcabec99fd6bc7b6a854250ddc54f89b9960683d71b9f6d05c27cb','tml-uVVC','2026-11-29T13:45:47.250Z',NULL,NULL);
CREATE TABLE registered_models (
	name VARCHAR NOT NULL,
	folder VARCHAR NOT NULL,
	max_context INTEGER NOT NULL,
	added_at VARCHAR NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE results (
	request_id VARCHAR(200) NOT NULL,
	owner VARCHAR(200) NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (request_id)
);
INSERT INTO "results" VALUES('r','ann',X'504B03042D000000000000002100828D1269FFFFFFFFFFFFFFFF08001400746578742E6E707901001000BF00000000000000BF00000000000000934E554D5059010076007B276465736372273A20277C7531272C2027666F727472616E5F6F72646572273A2046616C73652C20277368617065273A202836332C292C207D20202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020200A7B226B696E64223A202253616964222C20226669656C6473223A207B226669656C6473223A207B2264696374223A207B2274797065223A202278227D7D7D7D504B01022D032D000000000000002100828D1269BF000000BF000000080000000000000000000000800100000000746578742E6E7079504B0506000000000100010036000000F90000000000');
CREATE TABLE samplers (
	id VARCHAR(128) NOT NULL,
	session_id VARCHAR(64) NOT NULL,
	owner VARCHAR(200) NOT NULL,
	base_model VARCHAR NOT NULL,
	weights VARCHAR NOT NULL,
	model_path VARCHAR,
	clones INTEGER NOT NULL,
	created_at DOUBLE NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(session_id) REFERENCES sessions (id)
);
CREATE TABLE sessions (
	id VARCHAR(64) NOT NULL,
	owner VARCHAR(200) NOT NULL,
	tags JSON NOT NULL,
	user_metadata JSON NOT NULL,
	display_name VARCHAR,
	project_id VARCHAR,
	sdk_version VARCHAR NOT NULL,
	created_at DOUBLE NOT NULL,
	ended_at DOUBLE,
	ending VARCHAR,
	PRIMARY KEY (id)
);
INSERT INTO "sessions" VALUES('session-1','ann','["t"]','{}',NULL,NULL,'',1.0,2.5,'success');
CREATE TABLE trainer_jobs (
	owner VARCHAR(200) NOT NULL,
	id VARCHAR(63) NOT NULL,
	base_model VARCHAR NOT NULL,
	rank INTEGER NOT NULL,
	asked JSON NOT NULL,
	state VARCHAR NOT NULL,
	created_at VARCHAR NOT NULL,
	updated_at VARCHAR NOT NULL,
	PRIMARY KEY (owner, id)
);
CREATE TABLE trainer_sessions (
	session_id VARCHAR(64) NOT NULL,
	owner VARCHAR(200) NOT NULL,
	trainer VARCHAR(63) NOT NULL,
	begun_at VARCHAR NOT NULL,
	PRIMARY KEY (session_id),
	FOREIGN KEY(owner, trainer) REFERENCES trainer_jobs (owner, id)
);
CREATE TABLE training_deployments (
	owner VARCHAR(200) NOT NULL,
	id VARCHAR(63) NOT NULL,
	base_model VARCHAR NOT NULL,
	trainer VARCHAR NOT NULL,
	asked JSON NOT NULL,
	replicas INTEGER NOT NULL,
	identity VARCHAR NOT NULL,
	path VARCHAR NOT NULL,
	created_at VARCHAR NOT NULL,
	PRIMARY KEY (owner, id)
);
INSERT INTO "training_deployments" VALUES('ann','mine','tunesmith/embedded','','{}',2,'','','2026-11-29T13:45:11.200Z');
CREATE TABLE training_models (
	id VARCHAR(128) NOT NULL,
	session_id VARCHAR(64) NOT NULL,
	owner VARCHAR(200) NOT NULL,
	base_model VARCHAR NOT NULL,
	rank INTEGER NOT NULL,
	train_attn BOOLEAN NOT NULL,
	train_mlp BOOLEAN NOT NULL,
	train_unembed BOOLEAN NOT NULL,
	user_metadata JSON NOT NULL,
	state VARCHAR NOT NULL,
	seen JSON NOT NULL,
	created_at DOUBLE NOT NULL,
	last_request_at DOUBLE NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(session_id) REFERENCES sessions (id)
);
INSERT INTO "training_models" VALUES('session-1:train:0','session-1','ann','tunesmith/embedded',8,1,1,1,'{}','freed','{}',1.0,2.0);
CREATE TABLE tuned_models (
	owner VARCHAR(200) NOT NULL,
	name VARCHAR(200) NOT NULL,
	"key" VARCHAR(64) NOT NULL,
	base_model VARCHAR NOT NULL,
	folder VARCHAR NOT NULL,
	whole BOOLEAN NOT NULL,
	job_id VARCHAR NOT NULL,
	created_at VARCHAR NOT NULL,
	PRIMARY KEY (owner, name),
	UNIQUE ("key")
);
CREATE INDEX ix_jobs_page ON jobs (owner, created_at);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_sessions_owner ON sessions (owner);
CREATE INDEX ix_checkpoints_owner ON checkpoints (owner);
CREATE INDEX ix_checkpoints_model_id ON checkpoints (model_id);
CREATE INDEX ix_job_events_job_id ON job_events (job_id);
CREATE INDEX ix_training_models_session_id ON training_models (session_id);
CREATE INDEX ix_training_models_owner ON training_models (owner);
CREATE INDEX ix_samplers_owner ON samplers (owner);
CREATE INDEX ix_samplers_session_id ON samplers (session_id);
COMMIT;
