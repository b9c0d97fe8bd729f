//! The Lambda function `create_schema`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(create_schema::function)
}
