//! The Lambda function `update_schema`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(update_schema::function)
}
