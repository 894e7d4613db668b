//! The command `ecommerce`.

fn main() -> std::process::ExitCode {
    ecommerce::main()
}
