//! What is said of the operations on schemas and their tables.

use super::answers::Answer;
use super::operation::{Operation, Sent, Tag};
use super::parameters::PAGE;
use serde_json::json;

const NAME_TAKEN: (&str, &str) = ("NAME_TAKEN", "another schema has the name already");
const BUSY: (&str, &str) = ("BUSY", "others change the same things in this moment; try again");

pub(super) fn list() -> Operation {
    let answer = Answer::Plain("SchemaPage");
    Operation {
        query: PAGE,
        ..Operation::read(Tag::Schemas, "List schemas", "Newest first, with their fields.", answer)
    }
}

pub(super) fn get() -> Operation {
    let description = "The definition of a target table.";
    Operation::read(Tag::Schemas, "Get a schema", description, Answer::One("Schema"))
}

pub(super) fn create() -> Operation {
    let description =
        "Defines a target table. A field needs only `name` and `dataType`; a varchar without a length is unbounded.";
    let example = json!({
        "name": "customers",
        "displayName": "Customers",
        "fields": [
            {"name": "id", "dataType": "bigint", "isPrimaryKey": true},
            {"name": "email", "dataType": "varchar", "length": 320, "isNullable": false},
            {"name": "balance", "dataType": "decimal", "precision": 12, "scale": 2}
        ]
    });
    Operation {
        body: Some(Sent { schema: "SchemaInput", required: true, example: Some(example) }),
        once: true,
        status: 201,
        conflicts: &[NAME_TAKEN, BUSY],
        ..Operation::read(Tag::Schemas, "Create a schema", description, Answer::One("Schema"))
    }
}

pub(super) fn update() -> Operation {
    let description = "Fields of the body that are left out stay; `fields` replaces all fields of the table. A nullable field may be added, and a \
                       type widened: smallint to integer to bigint, real to double, varchar to a longer one or text, decimal to more digits with \
                       the same scale. The table follows with the next run. A change that would lose data is refused. A new `name` renames no \
                       table of a database that is called as the schema: later runs write one of the new name, while a run that has come to its \
                       commit, and its retries, keep to the old one.";
    let example = json!({"id": "schema_0199b3c4d5e67f8091a2b3c4d5e6f708", "displayName": "All customers"});
    Operation {
        body: Some(Sent { schema: "SchemaUpdate", required: true, example: Some(example) }),
        conflicts: &[
            ("WOULD_LOSE_DATA", "the change would lose data of the table; the detail says which"),
            NAME_TAKEN,
            BUSY,
        ],
        ..Operation::read(Tag::Schemas, "Change a schema", description, Answer::One("Schema"))
    }
}

pub(super) fn delete() -> Operation {
    let description = "Removes a schema that no pipeline uses.";
    Operation {
        status: 204,
        conflicts: &[("IN_USE", "pipelines use the schema; the detail names them"), BUSY],
        ..Operation::read(Tag::Schemas, "Delete a schema", description, Answer::Nothing)
    }
}

pub(super) fn rows() -> Operation {
    let description = "The rows of the schema's table, as objects by field. All pages of a walk show the version of the table that the first \
                       page saw. Decimals are strings, NaN is null, times RFC 3339. `rejected=true` answers the rows that runs with `errorHandling.onError: \
                       deadLetter` rejected: `run_id`, `node`, `row`, `file`, `column`, `value`, `reason` and `data`, the row as JSON text (of a row of a \
                       CSV file that has too few or too many fields `record`, the list of them). A page also ends at 4 MB.";
    Operation {
        query: &["RowLimit", "Cursor", "IncludeRowTotal", "RejectedRows"],
        conflicts: &[(
            "TABLE_UNREADABLE",
            "the version that the cursor walks is gone, another tool has changed the table beyond what is read here, or a row alone \
             is larger than a page; the detail says which",
        )],
        ..Operation::read(Tag::Schemas, "List a table's rows", description, Answer::Plain("RowsPage"))
    }
}
