//! The Lambda function `list_connectors`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_connectors::function)
}
