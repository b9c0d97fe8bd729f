//! The Lambda function `list_schemas`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_schemas::function)
}
