//! Streams over TLS: the same streams, and what clients and operators may do to them.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};

use crate::support::certificates::{Folder, Pair, SUITES, client, with_suites};
use crate::support::{Conversation, Item, Launch, SOON, Server, run, tool, within};

/// A gateway with one certificate, for `localhost`, and a client that trusts it.
fn serving(config: &str) -> (Server, Arc<ClientConfig>, Folder) {
    let pair = Pair::of(&["localhost"]);
    let folder = Folder::holding(&[&pair]);
    let server = Server::start(&format!("schedule = []\n{config}\n{}", folder.section(1)));
    (server, client(&[&TLS13, &TLS12], &[&pair]), folder)
}

#[track_caller]
fn connect(server: &Server, client: &Arc<ClientConfig>) -> Conversation {
    Conversation::secure(server.secure(), client, "localhost").expect("a handshake")
}

/// Opens a stream and reads its beginning.
#[track_caller]
fn subscribe(server: &Server, client: &Arc<ClientConfig>, target: &str) -> Conversation {
    let mut conversation = connect(server, client);
    conversation.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    assert_eq!(conversation.head().status, 200);
    conversation.beginning();
    conversation.mark();
    conversation
}

fn handshakes(server: &Server, result: &str) -> f64 {
    server.metrics().get(&format!("sluicegate_tls_handshakes_total{{result=\"{result}\"}}"))
}

/// A healthy stream, which gets an event at once.
#[track_caller]
fn is_well(server: &Server, stream: &mut Conversation) {
    let began = Instant::now();
    server.publish("well", "well");
    stream.expect_data("well");
    assert!(began.elapsed() < Duration::from_secs(3), "an event took {:?}", began.elapsed());
}

// ===== streams =====

#[test]
fn a_stream_by_tls_is_as_any_other() {
    for (versions, expected) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
        let (server, _, folder) = serving("");
        let pair = Pair { certificate: String::new(), key: String::new(), der: der(&folder) };
        let client = client(&[versions], &[&pair]);
        let mut stream = subscribe(&server, &client, "/events/a?max_events=3");
        assert_eq!(stream.tls().protocol_version(), Some(expected));
        assert_eq!(stream.tls().handshake_kind(), Some(HandshakeKind::Full));
        let mut plain = server.subscribe("/events/a");
        let mut last = server.publish("a", "one");
        assert_eq!(stream.expect_data("one"), plain.expect_data("one"));
        // Longer than a record, and than what is encrypted at once.
        let long = "x".repeat(100_000);
        last.clear();
        for _ in 0..2 {
            last = server.publish("a", &long);
            assert_eq!(stream.expect_data(&long).id, last);
        }
        assert_eq!(stream.next_event(), None, "it ends in order");
        assert!(stream.is_closed_within(SOON));

        // It comes back with a ticket, resumes, and a request on the same connection comes before.
        let mut back = connect(&server, &client);
        back.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert_eq!(back.response().body, "ok\n");
        assert_eq!(back.tls().handshake_kind(), Some(HandshakeKind::Resumed));
        let first = plain.last_event_id().to_owned();
        back.send(format!("GET /events/a HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {first}\r\n\r\n"));
        assert_eq!(back.head().status, 200);
        back.expect_data(&long);
        back.expect_data(&long);
        assert_eq!((handshakes(&server, "full"), handshakes(&server, "resumed")), (1.0, 1.0));
    }
}

fn der(folder: &Folder) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_file(folder.path("0.pem")).expect("a certificate")
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let pairs = [Pair::of(&["first.example"]), Pair::of(&["*.b.example", "c.example"]), Pair::of(&["x.b.example"])];
    let folder = Folder::holding(&pairs.each_ref());
    let server = Server::start(&format!("schedule = []\n{}", folder.section(3)));
    let trusting = client(&[&TLS13], &pairs.each_ref());
    for (name, shown) in [
        ("first.example", Some(0)),
        ("a.b.example", Some(1)),
        ("c.example", Some(1)),
        // The first that fits.
        ("x.b.example", Some(1)),
        // The first of all is shown, and the client does not take it.
        ("b.example", None),
        ("a.a.b.example", None),
        ("other.example", None),
    ] {
        let came = Conversation::secure(server.secure(), &trusting, name).ok();
        let certificate = came.map(|mut came| came.tls().peer_certificates().unwrap()[0].clone());
        assert_eq!(certificate, shown.map(|number: usize| pairs[number].der.clone()), "{name}");
    }
}

/// What scanners ask of a server, one by one.
#[test]
fn versions_and_suites_are_those_of_today() {
    let (server, _, folder) = serving("");
    let pair = Pair { certificate: String::new(), key: String::new(), der: der(&folder) };
    for (version, suite) in SUITES {
        let client = with_suites(&[version], vec![suite], &[&pair]);
        let mut came = connect(&server, &client);
        assert_eq!(came.tls().negotiated_cipher_suite(), Some(suite));
    }
    // A ClientHello of an older version, or with what is broken alone: an alert, and the end.
    let hello = |version: [u8; 2], suites: &[[u8; 2]]| {
        let mut body = [&version[..], &[7; 32], &[0], &(2 * suites.len() as u16).to_be_bytes()].concat();
        body.extend(suites.concat());
        // No compression, and the groups and signatures that there are.
        body.extend([1, 0]);
        let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let message = [&[1, 0], &(body.len() as u16).to_be_bytes()[..], &body].concat();
        [&[22, 3, 1], &(message.len() as u16).to_be_bytes()[..], &message].concat()
    };
    let ours = [0xc0, 0x2b];
    for (name, bytes) in [
        ("SSL 3", hello([3, 0], &[ours])),
        ("TLS 1.0", hello([3, 1], &[ours])),
        ("TLS 1.1", hello([3, 2], &[ours])),
        ("RC4, 3DES, CBC, no forward secrecy, export, NULL", {
            hello([3, 3], &[[0, 5], [0, 10], [0xc0, 0x09], [0xc0, 0x24], [0, 0x9c], [0, 3], [0, 2]])
        }),
    ] {
        let mut came = Conversation::to(server.secure());
        came.send(bytes);
        let said = came.read_to_end();
        // An alert, fatal, and nothing before it.
        assert!(said.len() == 7 && said[0] == 21 && said[5] == 2, "{name}: {said:?}");
    }
    let mut none = ClientConfig::clone(&client(&[&TLS13], &[&pair]));
    none.alpn_protocols = vec![b"spdy/3".to_vec()];
    assert!(Conversation::secure(server.secure(), &Arc::new(none), "localhost").is_err(), "no protocol in common");
    assert_eq!(handshakes(&server, "failed"), 5.0);
}

#[test]
fn streams_by_tls_are_drained_in_order() {
    let (mut server, client, _folder) = serving("[drain]\ndelay = \"0s\"\ndeadline = \"2s\"");
    let mut stream = subscribe(&server, &client, "/events/a");
    server.publish("a", "last");
    server.signal(Signal::TERM);
    stream.expect_data("last");
    assert!(matches!(stream.item(), Some(Item::Retry(_))));
    assert_eq!(stream.item(), None);
    // The end of the TLS connection, too, and not only of the socket: rustls tells them apart.
    assert_eq!(stream.read_to_end(), b"");
    assert!(server.wait(SOON).success());
}

// ===== clients that are slow, or not well =====

/// Bytes that a socket has not taken are kept for it, in order, also when the connection is full for long.
#[test]
fn a_slow_reader_by_tls_misses_nothing_and_holds_up_nobody() {
    let (server, client, _folder) = serving("[history]\nbytes = \"256MiB\"\n[limits]\nbody_bytes = \"1MiB\"");
    let mut slow = subscribe(&server, &client, "/events/a");
    let mut well = subscribe(&server, &client, "/events/well");
    // More than the kernel takes for one.
    const EVENTS: usize = 400;
    let mut publisher = server.publisher();
    for number in 0..EVENTS {
        publisher.publish("a", &format!("{number} {}", "x".repeat(40_000 + number * 7)));
    }
    is_well(&server, &mut well);
    assert!(within(SOON, || server.metrics().get("sluicegate_behind_streams") == 1.0), "it is behind");
    for number in 0..EVENTS {
        let data = slow.event().data;
        assert!(data.len() > 40_000 && data.starts_with(&format!("{number} x")), "{number}: {:.20}", data);
    }
    assert!(within(SOON, || server.metrics().get("sluicegate_behind_streams") == 0.0), "it is live again");
    server.publish("a", "live");
    slow.expect_data("live");
}

#[test]
fn who_never_reads_by_tls_is_closed_at_the_deadline() {
    let (server, client, _folder) = serving("[stream]\nwrite_deadline = \"1s\"\n[history]\nbytes = \"64MiB\"");
    let _deaf = subscribe(&server, &client, "/events/a");
    let mut well = subscribe(&server, &client, "/events/well");
    let mut publisher = server.publisher();
    let data = "x".repeat(500_000);
    for _ in 0..40 {
        publisher.publish("a", &data);
    }
    let closed = || server.metrics().get("sluicegate_streams_closed_total{reason=\"write_deadline\"}");
    assert!(within(SOON * 2, || closed() == 1.0));
    is_well(&server, &mut well);
}

/// A client may ask for new keys at any time, and says when it goes.
#[test]
fn keys_are_changed_and_ends_are_noticed() {
    let (server, client, _folder) = serving("");
    let mut stream = subscribe(&server, &client, "/events/a");
    for round in 0..3 {
        stream.tls().refresh_traffic_keys().expect("TLS 1.3");
        stream.send("x");
        let data = format!("round {round}");
        server.publish("a", &data);
        stream.expect_data(&data);
    }
    stream.tls().send_close_notify();
    stream.send("");
    drop(stream);
    let gone = || server.metrics().get("sluicegate_streams_closed_total{reason=\"client_gone\"}");
    assert!(within(SOON, || gone() == 1.0));
}

#[test]
fn http_without_tls_is_told_so() {
    let (server, _, _folder) = serving("");
    for head in ["GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /"] {
        let mut conversation = Conversation::to(server.secure());
        conversation.send(head);
        let response = conversation.response();
        assert_eq!(response.status(), 400, "{}", response.body);
        let document = response.json();
        assert_eq!((&document["reason"], &document["field"]), (&"not_tls".into(), &"scheme".into()));
        assert!(document["detail"].as_str().unwrap().contains("https://"));
        conversation.shut_write();
        conversation.expect_end();
    }
    assert_eq!(handshakes(&server, "plain_http"), 3.0);
    let rejected = server.metrics().get("sluicegate_requests_rejected_total{reason=\"not_tls\"}");
    assert_eq!(rejected, 3.0);
    // And the other way round.
    let mut conversation = server.connect();
    conversation.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert_eq!(conversation.response().status(), 400);
}

/// Each ends in time, is counted, and costs a stream beside it nothing.
#[test]
fn handshakes_that_come_to_nothing_end_in_time() {
    let (server, client, _folder) = serving("[limits]\nhead_deadline = \"700ms\"");
    let mut well = subscribe(&server, &client, "/events/well");
    let memory = server.status("VmRSS");
    // A record's header that promises more than comes; a hello of 64 KiB that never is whole.
    let begun = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let mut long = vec![1, 0, 0xff, 0xff, 3, 3];
    long.resize(0xffff + 4, 0);
    let long: Vec<u8> = long
        .chunks(16_384)
        .flat_map(|piece| [&[22, 3, 1][..], &(piece.len() as u16).to_be_bytes(), piece].concat())
        .collect();
    let garbage: Vec<u8> =
        (0..40_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
    for (name, bytes, shuts) in [
        ("silence", Vec::new(), false),
        ("a part", begun.clone(), false),
        ("a part and its end", begun, true),
        ("its end", Vec::new(), true),
        ("garbage", garbage, false),
        ("64 KiB of hello", long, false),
    ] {
        let mut all: Vec<_> = (0..50).map(|_| Conversation::to(server.secure())).collect();
        for conversation in &mut all {
            // It may be closed in the midst of it.
            let _ = conversation.try_send(&bytes);
            if shuts {
                let _ = conversation.socket().shutdown(std::net::Shutdown::Write);
            }
        }
        is_well(&server, &mut well);
        for mut conversation in all {
            assert!(conversation.is_closed_within(Duration::from_secs(8)), "{name} lasts");
        }
    }
    assert!(within(SOON, || server.metrics().get("sluicegate_connections{listener=\"public\"}") == 0.0));
    assert_eq!(handshakes(&server, "late"), 100.0, "silence and a part");
    assert_eq!(handshakes(&server, "failed"), 200.0);
    is_well(&server, &mut well);
    let grown = server.status("VmRSS").saturating_sub(memory);
    assert!(grown < 24 * 1024, "{grown} KiB more");
}

/// Handshakes take their turns as requests do: the one that waits for its client for longest gives way.
#[test]
fn stalled_handshakes_give_way_to_others() {
    let (server, client, _folder) = serving("[limits]\nconnections = 10\nhead_deadline = \"1h\"");
    let stalled: Vec<_> = (0..10).map(|_| Conversation::to(server.secure())).collect();
    let mut stream = subscribe(&server, &client, "/events/well");
    is_well(&server, &mut stream);
    drop(stalled);
}

#[test]
fn a_client_can_not_renegotiate() {
    let Some(openssl) = tool("openssl") else { return };
    let (server, client, _folder) = serving("");
    let mut well = subscribe(&server, &client, "/events/well");
    let mut asks = Command::new(openssl);
    asks.args(["s_client", "-tls1_2", "-connect", &server.secure().to_string()]);
    asks.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = asks.spawn().expect("openssl");
    use std::io::Write;
    let mut input = child.stdin.take().expect("a pipe");
    thread::sleep(Duration::from_millis(300));
    let _ = input.write_all(b"R\n");
    assert!(within(SOON, || child.try_wait().expect("a child").is_some()), "it goes on");
    let said = String::from_utf8_lossy(&child.wait_with_output().expect("a child").stderr).into_owned();
    assert!(said.contains("no renegotiation"), "{said}");
    is_well(&server, &mut well);
}

// ===== certificates =====

/// What the next client is shown, by its names.
fn shown(server: &Server, pairs: &[&Pair], name: &str) -> Option<usize> {
    let client = client(&[&TLS13], pairs);
    let mut came = Conversation::secure(server.secure(), &client, name).ok()?;
    let certificate = came.tls().peer_certificates()?[0].clone();
    pairs.iter().position(|pair| pair.der == certificate)
}

#[test]
fn certificates_are_renewed_while_streams_live_on() {
    let [old, new, newer] = [(); 3].map(|()| Pair::of(&["localhost"]));
    let past = Pair::until(&["localhost"], 2020);
    let all = [&old, &new, &newer, &past];
    let folder = Folder::holding(&[&old]);
    let server = Server::start(&format!("schedule = []\n{}", folder.section(1)));
    let mut stream = subscribe(&server, &client(&[&TLS13], &[&old]), "/events/well");
    let usable = || server.metrics().get("sluicegate_tls_certificates_last_read_successful") == 1.0;
    let refusals = || server.logs("a certificate can't be used; the old one stays").len();
    assert_eq!(shown(&server, &all, "localhost"), Some(0));

    // Half of it is no pair, and what is there stays.
    folder.put("0.pem", &new.certificate);
    assert!(within(SOON, || refusals() == 1) && !usable());
    assert_eq!(shown(&server, &all, "localhost"), Some(0));
    folder.put("0.key", &new.key);
    assert!(within(SOON, || shown(&server, &all, "localhost") == Some(1)));
    assert!(within(SOON, usable));
    is_well(&server, &mut stream);

    // Neither what is none nor what has expired takes the place of one that is good.
    for (certificate, key) in [("no certificate", &*new.key), (&*past.certificate, &*past.key), ("", "")] {
        let before = refusals();
        folder.put("0.key", key);
        folder.put("0.pem", certificate);
        assert!(within(SOON, || refusals() > before && !usable()), "{certificate:.20}");
        assert_eq!(shown(&server, &all, "localhost"), Some(1));
    }
    std::fs::remove_file(folder.path("0.pem")).unwrap();
    assert_eq!(shown(&server, &all, "localhost"), Some(1));
    folder.put("0.pem", &newer.certificate);
    folder.put("0.key", &newer.key);
    assert!(within(SOON, || shown(&server, &all, "localhost") == Some(2) && usable()));
    is_well(&server, &mut stream);
    // 2999-12-31 00:00:00.
    assert_eq!(server.metrics().get("sluicegate_tls_certificate_expiry_timestamp_seconds"), 32_503_593_600.0);
}

#[test]
fn a_certificate_that_can_not_be_used_is_refused_with_its_file() {
    let (one, other) = (Pair::of(&["localhost"]), Pair::of(&["localhost"]));
    let folder = Folder::holding(&[&one, &other]);
    folder.put("text.pem", "no certificate");
    folder.put("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    folder.put("broken.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let path = |name: &str| folder.path(name).display().to_string();
    for (certificate, key, fault, reason) in [
        ("0.pem", "1.key", "1.key", "it is not the key of "),
        ("none.pem", "0.key", "none.pem", "no certificates in PEM can be read from it"),
        ("text.pem", "0.key", "text.pem", "there is no certificate in PEM in it"),
        ("0.key", "0.key", "0.key", "there is no certificate in PEM in it"),
        ("broken.pem", "0.key", "broken.pem", "the certificate can't be read"),
        ("0.pem", "none.key", "none.key", "no private key in PEM can be read from it"),
        ("0.pem", "0.pem", "0.pem", "no private key in PEM can be read from it"),
        ("0.pem", "broken.key", "broken.key", "the private key can't be used"),
    ] {
        let (certificate, key) = (path(certificate), path(key));
        let tls = ["--listen-tls", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
        for check in [&["config", "check"][..], &["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]] {
            let output = run(&[check, &tls].concat(), &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("{}: {reason}", path(fault))), "{said}");
            assert!(!said.contains("AAAA"), "nothing of a key is said: {said}");
        }
    }
    let output = run(&["config", "check", "--listen-tls", "127.0.0.1:0"], &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("tls.listen and tls.cert disagree"));
}

/// One that has expired is served, for the clients that take it, and with a word to the operator.
#[test]
fn an_expired_certificate_is_a_warning() {
    let past = Pair::until(&["localhost"], 2020);
    let folder = Folder::holding(&[&past]);
    let server = Server::start(&folder.section(1));
    assert!(server.log("the certificate has expired, or does not hold yet").is_some());
    assert_eq!(server.metrics().get("sluicegate_tls_certificate_expiry_timestamp_seconds"), 1_609_372_800.0);
    let refused = Conversation::secure(server.secure(), &client(&[&TLS13], &[&past]), "localhost");
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn one_flag_serves_localhost_to_try_things() {
    let server = Launch::config("").argument("--dev-tls").argument("--listen-tls=127.0.0.1:0").start();
    let Some(curl) = tool("curl") else { return };
    let url = format!("https://localhost:{}/", server.secure().port());
    let output = Command::new(curl).args(["-sk", "--max-time", "10", &url]).output().expect("curl");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{output:?}");
}
