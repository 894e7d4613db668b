//! Finds a fn that returns `Err(Failure::Reject(..))` although its type names plain `Failure`.
//!
//! For that, the compiler's own error only mentions an argument of an enum variant. This module is the only one that inspects the
//! body of a fn. Its result is only a hint: the generated code checks the type itself, which may be an alias that names a
//! refusal.

use syn::{Block, Expr, GenericArgument, PathArguments, ReturnType, Signature, Stmt, Type};

/// The `Failure` without a refusal in the return type of a fn that returns a refusal.
pub(super) fn unnamed(signature: &Signature, body: &Block) -> Option<Type> {
    let ReturnType::Type(_, output) = &signature.output else { return None };
    let PathArguments::AngleBracketed(arguments) = last(output)?.arguments else { return None };
    let Some(GenericArgument::Type(failure)) = arguments.args.into_iter().nth(1) else { return None };
    let plain = last(&failure).is_some_and(|last| last.ident == "Failure" && last.arguments.is_none());
    (plain && in_block(body, true)).then_some(failure)
}

fn last(ty: &Type) -> Option<syn::PathSegment> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last().cloned()
}

/// Whether a refusal is returned in `block`. With `answer`, the fn returns the value of the block.
fn in_block(block: &Block, answer: bool) -> bool {
    let end = block.stmts.len().saturating_sub(1);
    block.stmts.iter().enumerate().any(|(at, statement)| match statement {
        Stmt::Expr(expression, semicolon) => in_expression(expression, answer && at == end && semicolon.is_none()),
        Stmt::Local(local) => local.init.as_ref().is_some_and(|init| {
            in_expression(&init.expr, false) || init.diverge.as_ref().is_some_and(|(_, diverge)| in_expression(diverge, false))
        }),
        _ => false,
    })
}

/// The same for an expression. Closures and async blocks do not return from the fn, so they are omitted.
fn in_expression(expression: &Expr, answer: bool) -> bool {
    match expression {
        Expr::Return(returned) => returned.expr.as_ref().is_some_and(|value| in_expression(value, true)),
        Expr::Call(_) => answer && is_refusal(expression),
        Expr::Block(block) => in_block(&block.block, answer),
        Expr::If(branch) => {
            in_block(&branch.then_branch, answer)
                || branch.else_branch.as_ref().is_some_and(|(_, other)| in_expression(other, answer))
        }
        Expr::Match(chosen) => chosen.arms.iter().any(|arm| in_expression(&arm.body, answer)),
        Expr::ForLoop(each) => in_block(&each.body, false),
        Expr::While(each) => in_block(&each.body, false),
        Expr::Loop(each) => in_block(&each.body, false),
        _ => false,
    }
}

/// Whether the expression is `Err(Failure::Reject(..))`.
fn is_refusal(expression: &Expr) -> bool {
    let called = |expression: &Expr, path: &[&str]| -> Option<Expr> {
        let Expr::Call(call) = expression else { return None };
        let Expr::Path(function) = &*call.func else { return None };
        let segments = function.path.segments.iter().rev();
        let is_it = path.len() <= segments.len() && segments.zip(path.iter().rev()).all(|(segment, name)| segment.ident == name);
        is_it.then(|| call.args.first().cloned())?
    };
    called(expression, &["Err"]).is_some_and(|failure| called(&failure, &["Failure", "Reject"]).is_some())
}

#[cfg(test)]
mod tests {
    use syn::{ItemFn, parse_str};

    fn is_found(function: &str) -> bool {
        let function: ItemFn = parse_str(function).unwrap_or_else(|error| panic!("{function}: {error}"));
        super::unnamed(&function.sig, &function.block).is_some()
    }

    #[test]
    fn a_refusal_is_found_where_it_is_returned() {
        for body in [
            "Err(Failure::Reject(No))",
            "return Err(Failure::Reject(No));",
            "Err(sagas::Failure::Reject(No { id: 1 }))",
            "if short { return Err(Failure::Reject(No)); } Ok(())",
            "let Some(it) = it else { return Err(Failure::Reject(No)) }; Ok(())",
            "match it { 1 => Ok(()), _ => Err(Failure::Reject(No)) }",
            "if it { Ok(()) } else { Err(Failure::Reject(No)) }",
            "for each in all { if each { return Err(Failure::Reject(No)); } } Ok(())",
        ] {
            assert!(is_found(&format!("async fn f() -> Result<(), Failure> {{ {body} }}")), "{body}");
            assert!(is_found(&format!("async fn f() -> Result<(), sagas::Failure> {{ {body} }}")), "{body}");
            assert!(!is_found(&format!("async fn f() -> Result<(), Failure<No>> {{ {body} }}")), "{body}");
            assert!(!is_found(&format!("async fn f() -> Outcome {{ {body} }}")), "{body}");
        }
    }

    #[test]
    fn what_is_returned_to_others_is_none() {
        for body in [
            "Ok(())",
            "Err(Failure::Later(wait))",
            "Err(No::Reject(it))",
            "if let Err(Failure::Reject(_)) = other() { note(); } Ok(())",
            "match other() { Err(Failure::Reject(_)) => Ok(()), _ => Ok(()) }",
            "let refused: Result<(), Failure<No>> = Err(Failure::Reject(No)); Ok(())",
            "let refuse = || { return Err(Failure::Reject(No)); }; Ok(())",
            "let refusing = async { return Err(Failure::Reject(No)) }; Ok(())",
            "check(Err(Failure::Reject(No))); Ok(())",
        ] {
            assert!(!is_found(&format!("async fn f() -> Result<(), Failure> {{ {body} }}")), "{body}");
        }
    }
}
