//! The command `ecommerce`, as an executable that the tests of this package can start.

fn main() -> std::process::ExitCode {
    ecommerce::main()
}
