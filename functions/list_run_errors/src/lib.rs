//! `GET /api/v1/pipelines/{id}/runs/{runId}/errors`: all rejected rows, as JSON pages or as CSV.

use http::{StatusCode, header};
use shared::Result;
use shared::context::Context;
use shared::http::{Function, ListInput, Request, Response};
use shared::models::run::RowError;
use shared::roles::Action;
use shared::store::counted;
use shared::store::errors::ErrorPosition;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListRunErrors, read, handle)
}

struct Input {
    pipeline: String,
    run: String,
    csv: bool,
    list: ListInput,
}

fn read(request: &Request) -> Result<Input> {
    let csv = request.header(header::ACCEPT).is_some_and(wants_csv);
    let mut list = if csv { ListInput::with(request, 1000, 5000)? } else { ListInput::read(request)? };
    list.filters = if csv { "csv" } else { "json" }.to_owned();
    Ok(Input { pipeline: request.param("id").to_owned(), run: request.param("runId").to_owned(), csv, list })
}

/// Whether CSV is named, and JSON is not wanted more.
fn wants_csv(accept: &str) -> bool {
    let csv = weight(accept, &["text/csv"]);
    csv > 0.0 && csv >= weight(accept, &["application/json", "application/*", "*/*"])
}

/// The weight (`q`) of the first of these media types that is named; 0 where none is.
fn weight(accept: &str, types: &[&str]) -> f32 {
    let of = |name: &str| {
        accept.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next().is_some_and(|range| range.eq_ignore_ascii_case(name));
            let given = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            named.then(|| given.and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0))
        })
    };
    types.iter().find_map(|name| of(name)).unwrap_or(0.0)
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let position: Option<ErrorPosition> = input.list.position(&context)?;
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    let run = context.store.run(context.tenant(), &pipeline.id, &input.run).await?;
    let (rows, next) = context.store.run_errors(&run, position, input.list.limit).await?;
    if !input.csv {
        let total = input.list.total.then(|| {
            let (total, more) = counted(run.rows.map_or(0, |r| r.failed));
            (total, more || !run.status.is_final())
        });
        return input.list.page(&context, &rows, next.as_ref(), total);
    }
    let response = Response::text(StatusCode::OK, "text/csv; charset=utf-8; header=present", csv(&rows))?
        .with(header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{}-errors.csv\"", run.id))?;
    match next {
        None => Ok(response),
        Some(next) => {
            let (limit, cursor) = (input.list.limit, input.list.seal(&context, &next)?);
            let link = format!("<{}?limit={limit}&cursor={cursor}>; rel=\"next\"", input.list.path);
            response.with(header::LINK, &link)
        }
    }
}

/// Every page begins with the header, so that each is a file of its own.
fn csv(rows: &[RowError]) -> String {
    let mut text = "Row,Column,Value,Error\r\n".to_owned();
    for row in rows {
        let number = row.row.map(|n| n.to_string()).unwrap_or_default();
        let fields = [number.as_str(), &row.column, row.value.as_deref().unwrap_or(""), &row.error];
        text += &fields.map(quoted).join(",");
        text += "\r\n";
    }
    text
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\r', '\n']) || field != field.trim() {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_quotes_and_line_breaks_stays_one_field() {
        let row = RowError {
            row: Some(3),
            column: "a,b".to_owned(),
            value: Some("x\"y\nz".to_owned()),
            error: "no".to_owned(),
            node: String::new(),
        };
        assert_eq!(csv(&[row]), "Row,Column,Value,Error\r\n3,\"a,b\",\"x\"\"y\nz\",no\r\n");
    }

    #[test]
    fn csv_is_answered_only_to_those_who_want_it_at_least_as_much_as_json() {
        for csv in [
            "text/csv",
            "Text/CSV; header=present",
            "application/json, text/csv",
            "application/json;q=0.5, text/csv;q=0.9",
            "text/csv, */*;q=0.1",
            "text/csv;q=0.2, application/json;q=0.1, */*",
        ] {
            assert!(wants_csv(csv), "{csv}");
        }
        for json in [
            "",
            "*/*",
            "text/*",
            "text/csvx",
            "text/csv;q=0",
            "text/csv;q=0, application/json",
            "application/json, text/csv;q=0.1",
            "text/csv; q=0.1, application/*; q=0.2",
            "text/csv;Q=0.1, */*",
        ] {
            assert!(!wants_csv(json), "{json}");
        }
    }
}
