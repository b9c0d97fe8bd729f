//! The Lambda function `list_connector_types`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_connector_types::function)
}
