//! The Lambda function `get_run`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_run::function)
}
