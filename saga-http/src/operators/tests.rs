use super::*;

const TOKEN: &str = "a-token-of-an-operator";

fn open_to_the_machine() -> Access {
    Operators::at("127.0.0.1:8081").public_name("shop.example").public_name("[fd00::1]").surface(None).operators
}

fn asks_for(access: &Access, authority: &str, token: Option<&[u8]>) -> Admission {
    access.admit(token, true, std::iter::once(Some(authority)))
}

#[test]
fn the_machine_and_the_service_are_known_by_name() {
    for known in [
        "localhost",
        "LocalHost:8081",
        "localhost.",
        "localhost.:80",
        "127.0.0.1",
        "127.0.0.1:8081",
        "127.8.0.1:",
        "[::1]",
        "[::1]:8081",
        "[0:0:0:0:0:0:0:1]:1",
        "[::ffff:127.0.0.1]:1",
        "shop.example",
        "Shop.Example.:443",
        "[fd00::1]:1",
    ] {
        assert_eq!(asks_for(&open_to_the_machine(), known, None), Admission::Unnamed, "{known}");
    }
}

#[test]
fn nothing_else_is() {
    for other in [
        "",
        ":8081",
        ".",
        "evil.example",
        "evil.example:8081",
        "localhost.evil.example",
        "evil.localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1:80@evil.example",
        "127.0.0.1:80:80",
        "127.0.0.1, evil.example",
        "127.1",
        "2130706433",
        "0.0.0.0:8081",
        "10.0.0.1",
        "::1",
        "[::1",
        "[::1]evil.example",
        "[localhost]",
        "[::]",
        "shop.example.evil.example",
        "xshop.example",
        "localhost/",
        " localhost",
        "lo\u{441}alhost",
    ] {
        assert_eq!(asks_for(&open_to_the_machine(), other, None), Admission::Misdirected, "{other}");
    }
}

#[test]
fn a_token_stands_for_a_name_and_may_have_one_of_its_own() {
    let operators = Operators::beside_the_routes().open_on_loopback().token(TOKEN).token_of("ada", "another-token-of-ada");
    let access = operators.surface(Some(([127, 0, 0, 1], 8081).into())).operators;
    let asks = |authority: &str, token: &[u8]| asks_for(&access, authority, Some(token));
    assert_eq!(asks("evil.example", TOKEN.as_bytes()), Admission::Unnamed);
    assert_eq!(asks("evil.example", b"another-token-of-an-op"), Admission::Misdirected);
    assert_eq!(asks("evil.example", b"another-token-of-ada"), Admission::As(Operator::new("ada")));
    assert_eq!(asks("localhost", b"another-token-of-an-op"), Admission::Unnamed);
    assert_eq!(asks_for(&access, "localhost", None), Admission::Unnamed);
}

/// Returns whether the framework's operator routes are served and whether they require a credential, and the same for those of the service.
fn rules(operators: &Operators, address: &str) -> [(bool, bool); 2] {
    let surface = operators.surface(Some(address.parse().expect("an address")));
    [surface.operators, surface.routes].map(|access| (access.exists(), access.takes_a_credential()))
}

#[test]
fn where_they_are_says_what_it_takes() {
    const LOCAL: &str = "127.0.0.1:1";
    const ANY: &str = "0.0.0.0:1";
    let (open, closed, gone) = ((true, false), (true, true), (false, true));
    for (operators, local, any) in [
        (Operators::mounted(), [closed, closed], [closed, closed]),
        (Operators::at("127.0.0.1:2"), [open, closed], [open, closed]),
        (Operators::at("[::ffff:127.0.0.1]:2"), [open, closed], [open, closed]),
        (Operators::at("127.0.0.1:2").token(TOKEN), [closed, closed], [closed, closed]),
        (Operators::at("127.0.0.1:2").token(TOKEN).open_on_loopback(), [open, open], [open, closed]),
        (Operators::at("0.0.0.0:2").token(TOKEN), [closed, closed], [closed, closed]),
        (Operators::beside_the_routes(), [gone, gone], [gone, gone]),
        (Operators::beside_the_routes().token(TOKEN), [closed, closed], [closed, closed]),
        (Operators::beside_the_routes().layer(axum::Extension(())), [closed, closed], [closed, closed]),
        (Operators::beside_the_routes().open_on_loopback(), [open, open], [gone, gone]),
        (Operators::beside_the_routes().open_on_loopback().token(TOKEN), [open, open], [closed, closed]),
    ] {
        assert_eq!((rules(&operators, LOCAL), rules(&operators, ANY)), (local, any), "{operators:?} {:?}", operators.address());
        assert_eq!(operators.problems(true), Vec::<String>::new());
    }
}

#[test]
fn what_others_mount_is_never_open_to_the_machine() {
    let local = Some("127.0.0.1:1".parse().expect("an address"));
    for operators in [
        Operators::mounted(),
        Operators::at("127.0.0.1:2"),
        Operators::at("127.0.0.1:2").open_on_loopback().public_name("shop.example"),
        Operators::beside_the_routes(),
        Operators::beside_the_routes().open_on_loopback(),
    ] {
        let bare = operators.surface(local).mounted;
        assert!(bare.exists() && bare.takes_a_credential(), "{bare:?}");
        let mounted = operators.token(TOKEN).surface(local).mounted;
        for host in ["localhost", "127.0.0.1:2", "[::1]", "shop.example", "evil.example"] {
            assert_eq!(asks_for(&bare, host, None), Admission::Unauthenticated, "{host}");
            assert_eq!(asks_for(&mounted, host, None), Admission::Unauthenticated, "{host}");
            assert_eq!(asks_for(&mounted, host, Some(TOKEN.as_bytes())), Admission::Unnamed, "{host}");
        }
    }
}

#[test]
fn the_listener_is_taken_once_it_is_bound() {
    let mut operators = Operators::at("127.0.0.1:0");
    assert!(operators.take_listener().is_none() && operators.address().is_some());
    operators.bind().expect("a port is free");
    let address = operators.address().expect("an address");
    let listener = operators.take_listener().expect("it was bound");
    assert_eq!(listener.local_addr().expect("an address"), address);
    assert!(operators.take_listener().is_none());
    assert!(Operators::beside_the_routes().take_listener().is_none());
}

#[test]
fn what_is_wrong_with_them_is_told() {
    let nothing = std::env::temp_dir().join("there-is-no-such-token");
    for (operators, told) in [
        (
            Operators::at("localhost"),
            "`localhost` is no address for operators; write an IP address with its port, like `127.0.0.1:9090`",
        ),
        (
            Operators::at("localhost:19999"),
            "`localhost:19999` is a name with a port, and operators listen on an IP address; write that, like `127.0.0.1:19999`",
        ),
        (Operators::at("::1:9090x"), "is no address for operators"),
        (Operators::at("0.0.0.0:9090"), "operators listen on 0.0.0.0:9090, which others can reach, and need no credential"),
        (Operators::at("0.0.0.0:9090").open_on_loopback(), "operators listen on 0.0.0.0:9090, which others can reach"),
        (Operators::at("0.0.0.0:9090").token("secret"), "an operators' token is 16 visible ASCII characters or more"),
        (Operators::at("0.0.0.0:9090").token_file(nothing), "there-is-no-such-token cannot be read"),
        (Operators::at("0.0.0.0:9090").token_env("SAGAS_TEST_NO_SUCH_TOKEN"), "SAGAS_TEST_NO_SUCH_TOKEN: "),
        (Operators::at("0.0.0.0:9090").token_of("\n", TOKEN), "an operator's token needs the name of the operator"),
        (Operators::beside_the_routes(), "of a service that has no listener"),
    ] {
        let problems = operators.problems(false);
        assert!(problems.len() == 1 && problems[0].contains(told) && !problems[0].contains("secret"), "{told}: {problems:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let problem = Operators::from(address).bind().expect_err("it is taken");
    assert!(problem.contains(&format!("the listener of operators at {address} cannot be opened: ")), "{problem}");
}

#[test]
fn a_public_name_is_that_of_a_host() {
    for name in ["shop.example", "10.0.0.7", "[fd00::1]"] {
        let named = Operators::mounted().public_name(name);
        assert_eq!((named.names, named.problems), (vec![name.to_owned()], vec![]));
    }
    for wrong in ["", "shop.example:443", "https://shop.example", "shop.example/", "fd00::1", "*"] {
        let problems = Operators::mounted().public_name(wrong).problems;
        assert!(problems.len() == 1 && problems[0].contains("like `shop.example`"), "{wrong}: {problems:?}");
    }
}

#[test]
fn no_token_is_shown() {
    let operators = Operators::at("0.0.0.0:1").token(TOKEN).token_of("ada", "another-token-of-ada");
    let shown = format!("{operators:?} {:?}", operators.surface(None));
    assert!(!shown.contains(TOKEN) && !shown.contains("another-token") && shown.contains("ada"), "{shown}");
}
