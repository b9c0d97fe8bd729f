//! What is said of the operations on runs.

use super::answers::Answer;
use super::operation::{Operation, Sent, Tag};
use serde_json::json;

const RUN_ACTIVE: (&str, &str) = (
    "RUN_ACTIVE",
    "another run is live and the pipeline's `concurrencyPolicy` does not allow two, or one was started in this moment",
);
const BUSY: (&str, &str) = ("BUSY", "the same things change too fast in this moment; try again");

pub(super) fn start() -> Operation {
    let description = "Makes a run, which is `pending` until a worker takes it. The body may be left out; `${name}` in node configs reads \
                       its parameters, as values only; they have 64 KB of JSON at most.";
    Operation {
        body: Some(Sent {
            schema: "RunInput",
            required: false,
            example: Some(json!({"parameters": {"since": "2026-01-15"}})),
        }),
        once: true,
        status: 201,
        conflicts: &[RUN_ACTIVE, BUSY],
        ..Operation::read(Tag::Runs, "Run a pipeline", description, Answer::One("Run"))
    }
}

pub(super) fn list() -> Operation {
    let description = "The last 20 runs of the pipeline, newest first; `limit`, `cursor` and `status` go further.";
    Operation {
        query: &["Limit", "Cursor", "IncludeTotal", "Status"],
        ..Operation::read(Tag::Runs, "List a pipeline's runs", description, Answer::Plain("RunPage"))
    }
}

pub(super) fn get() -> Operation {
    let description = "The run as it stands. `completed`, `completed_with_errors`, `failed` and `cancelled` are final; row counts show from \
                       then on.";
    Operation::read(Tag::Runs, "Get a run", description, Answer::One("Run"))
}

pub(super) fn progress() -> Operation {
    let description = "How far the run is, in all, by partition and by node, with the first 20 rejected rows and what happened so far.";
    Operation::read(Tag::Runs, "Get a run's progress", description, Answer::One("RunProgress"))
}

pub(super) fn errors() -> Operation {
    let description = "All rejected rows. With `Accept: text/csv` a CSV file, whose further pages the header `Link` names; otherwise JSON. A \
                       cursor belongs to the form that it was given for.";
    Operation {
        query: &["RejectedLimit", "Cursor", "IncludeRejectedTotal"],
        ..Operation::read(Tag::Runs, "List a run's rejected rows", description, Answer::Rejected)
    }
}

pub(super) fn receipt() -> Operation {
    let description = "What the run read and wrote, and who worked on it: the hash of its definition, its inputs, the versions of its \
                       tables with the transaction that wrote them, rows by node, and all attempts. `flowgate verify-receipt` holds it \
                       against the tables' logs.";
    Operation {
        conflicts: &[("RUN_NOT_FINAL", "the run has not ended yet")],
        ..Operation::read(Tag::Runs, "Get a run's receipt", description, Answer::One("Receipt"))
    }
}

pub(super) fn cancel() -> Operation {
    let description = "Ends a pending run at once, and a running one through its worker, within seconds; within some minutes where its \
                       worker is gone and no other one comes. Nothing of it is written.";
    Operation {
        body: Some(Sent::nothing()),
        status: 202,
        conflicts: &[
            ("RUN_FINAL", "the run has ended already"),
            ("RUN_COMMITTING", "the run is writing its result and cannot be cancelled any more"),
            BUSY,
        ],
        ..Operation::read(Tag::Runs, "Cancel a run", description, Answer::One("Run"))
    }
}

pub(super) fn retry() -> Operation {
    let description = "Makes a new run of the same pipeline version with the same parameters; `retryOf` names the old one. It leaves \
                       or replaces the rows that the runs before it have written, as far back as they retry one another, in the same \
                       tables, also where a schema was renamed since. A run is retried once; after that its newest retry is the one to be \
                       retried.";
    Operation {
        body: Some(Sent::nothing()),
        once: true,
        status: 201,
        conflicts: &[
            ("RUN_NOT_RETRYABLE", "the run is not failed, cancelled or completed_with_errors, nor was it rolled back"),
            (
                "RUN_RETRIED",
                "the run has been retried already; the detail names its newest retry, which is to be retried instead",
            ),
            (
                "ROLLBACK_UNDER_WAY",
                "the run, or one that it retries, is being rolled back; the detail says until when at the latest",
            ),
            RUN_ACTIVE,
            BUSY,
        ],
        ..Operation::read(Tag::Runs, "Retry a run", description, Answer::One("Run"))
    }
}

pub(super) fn rollback() -> Operation {
    let description = "Takes the run's rows out of its tables again, by a commit of its own to each: the files that it added go, those that \
                       it removed come back, and so does the watermark. Rows that were appended can go whatever was appended since; \
                       what was merged or replaced only while nobody has changed the table since. The run's status stays. With \
                       `dryRun` nothing is changed. Where a rollback was cut off between two tables, or was too slow for a \
                       request (503 with `TIMEOUT`, which says what is done), asking again goes on with it. A \
                       retry that has left rows of this run to stand is rolled back first: that takes out what it has written \
                       itself, and leaves those.";
    Operation {
        body: Some(Sent { schema: "RollbackInput", required: false, example: Some(json!({"dryRun": true})) }),
        conflicts: &[
            ("RUN_NOT_FINAL", "the run has not ended yet"),
            ("NOTHING_WRITTEN", "the run has changed no table"),
            ("ALREADY_ROLLED_BACK", "it was rolled back before"),
            ("DATABASE_TARGET", "the run has written a database, where its rows cannot be told apart"),
            ("LATER_WRITES", "later runs, which are named, depend on its rows, or may since they have not ended"),
            ("WATERMARK_MOVED", "a later run has gone on from its watermark"),
            ("FILES_GONE", "files that it replaced were removed from the lake (a vacuum)"),
            ("LOG_CLEANED", "the table's log no longer reaches back to it"),
            ("SCHEMA_CHANGED", "the table's columns have had other types since"),
            ("SCHEMA_GONE", "the schema of its table does not exist any more"),
            ("TABLE_REFUSES", "another tool has changed the table so that Flowgate cannot write it"),
            BUSY,
        ],
        ..Operation::read(Tag::Runs, "Roll a run back", description, Answer::Plain("Rollback"))
    }
}
