//! Rules: who may subscribe to what.

use std::time::Duration;

use serde_json::json;

use super::{HS256, ask, bearer, check_opens, check_refused, token};
use crate::support::{Server, run};

const SCOPE: &str = "Bearer error=\"insufficient_scope\"";

#[test]
fn the_first_rule_that_a_topic_is_in_decides() {
    let rules = "[[rule]]\ntopics = [\"users/{sub}/**\", \"inbox/{sub}\"]\nsubscribe = \"token\"\n\
                 [[rule]]\ntopics = [\"members/**\"]\nsubscribe = \"token\"\n\
                 [[rule]]\ntopics = [\"closed/**\"]\nsubscribe = \"none\"\n\
                 [[rule]]\ntopics = [\"**\"]\nsubscribe = \"anyone\"\n";
    let server = Server::start(&format!("{HS256}{rules}"));
    let seven = bearer(&token(json!({"sub": "7"})));
    for target in ["/events/news", "/events/users", "/events?match=news/*"] {
        check_opens(&server, target, &[]);
        check_opens(&server, target, &[&seven]);
    }
    for (target, field) in [
        ("/events/users/7/x", "topic"),
        ("/events/inbox/7", "topic"),
        ("/events/members/a", "topic"),
        ("/events?match=members/*", "match"),
        ("/events?topic=news&match=users/7/**", "match"),
        ("/events/closed/a", "topic"),
    ] {
        check_refused(&server, target, &[], 401, field, "Bearer");
    }
    for target in ["/events/users/7/x", "/events/inbox/7", "/events/members/a", "/events?match=users/7/**"] {
        check_opens(&server, target, &[&seven]);
    }
    for (target, field) in [
        ("/events/users/8/x", "topic"),
        ("/events/inbox/8", "topic"),
        ("/events/closed/a", "topic"),
        ("/events?match=users/8/**", "match"),
        ("/events?topic=news&topic=closed/a", "topic"),
    ] {
        check_refused(&server, target, &[&seven], 403, field, SCOPE);
    }
    // A token that grants it by itself comes before the rules.
    check_opens(&server, "/events/closed/a", &[&bearer(&token(json!({"sluicegate": {"subscribe": ["closed/*"]}})))]);
}

#[test]
fn a_claim_never_widens_a_pattern() {
    let rules = "[[rule]]\ntopics = [\"users/{sub}/**\"]\nsubscribe = \"token\"\n\
                 [[rule]]\ntopics = [\"teams/{teams}\"]\nsubscribe = \"token\"\n";
    let server = Server::start(&format!("{HS256}{rules}"));
    for sub in [
        json!("*"),
        json!("**"),
        json!("7/x"),
        json!(""),
        json!("7*"),
        json!("/"),
        json!(null),
        json!(true),
        json!(1.5),
    ] {
        let fields = bearer(&token(json!({"sub": sub})));
        for target in ["/events/users/7/x", "/events?match=users/*/**", "/events?match=users/7/**", "/events/users//x"]
        {
            let field = if target.contains("match") { "match" } else { "topic" };
            check_refused(&server, target, &[&fields], 403, field, SCOPE);
        }
    }
    check_opens(&server, "/events/users/42/x", &[&bearer(&token(json!({"sub": 42})))]);
    let teams = bearer(&token(json!({"teams": ["red", "*", 5, {"a": 1}, "blue/x"]})));
    check_opens(&server, "/events/teams/red", &[&teams]);
    check_opens(&server, "/events/teams/5", &[&teams]);
    check_refused(&server, "/events/teams/blue", &[&teams], 403, "topic", SCOPE);
}

#[test]
fn a_pattern_is_granted_as_far_as_it_goes_and_the_stream_says_so() {
    let rules = "[[rule]]\ntopics = [\"secret/**\"]\nsubscribe = \"none\"\n";
    let server = Server::start(&format!("{HS256}{rules}"));
    let first_comment = |target: &str, fields: &[&str]| {
        let (head, mut stream) = ask(&server, target, fields);
        assert_eq!(head.status, 200);
        String::from_utf8(stream.chunk()).unwrap()
    };
    let less = ": this is less than was asked for, as far as it is granted\n";
    assert_eq!(first_comment("/events?match=**", &[]), less);
    assert!(first_comment("/events?match=news/**", &[]).starts_with(":\n"));
    let (_, mut all) = ask(&server, "/events?match=**", &[]);
    all.chunk();
    all.beginning();
    all.mark();
    let mut publisher = server.publisher();
    for topic in ["a", "secret/a", "secret", "secret/b/c", "b/secret/a"] {
        publisher.publish(topic, topic);
    }
    publisher.batch("{\"topics\":[\"secret/x\",\"open\"],\"data\":\"both\"}");
    for data in ["a", "secret", "b/secret/a", "both"] {
        all.expect_data(data);
    }
    all.expect_nothing(Duration::from_millis(50));
    // And the same for who comes back.
    let (_, mut again) = ask(&server, "/events?match=**&last_event_id=earliest", &[]);
    again.chunk();
    again.beginning();
    for data in ["a", "secret", "b/secret/a", "both"] {
        again.expect_data(data);
    }
    again.expect_nothing(Duration::from_millis(50));
}

#[test]
fn streams_of_equal_grants_have_their_events_by_one_pattern() {
    // Two tokens, one grant: what they have is the same as what is asked for outright.
    let server = Server::start(&format!("{HS256}[[rule]]\ntopics = [\"**\"]\nsubscribe = \"none\"\n"));
    let grants = json!({"subscribe": ["prices/**", "chat/42"]});
    let streams = ["a", "b"].map(|sub| {
        let fields = bearer(&token(json!({"sub": sub, "sluicegate": grants})));
        let (head, mut stream) = ask(&server, "/events?match=**", &[&fields]);
        assert_eq!(head.status, 200);
        stream.chunk();
        stream.beginning();
        stream.mark();
        stream
    });
    let mut publisher = server.publisher();
    for topic in ["prices/eur", "prices", "chat/42", "chat/43", "prices/a/b"] {
        publisher.publish(topic, topic);
    }
    for mut stream in streams {
        for data in ["prices/eur", "chat/42", "prices/a/b"] {
            stream.expect_data(data);
        }
        stream.expect_nothing(Duration::from_millis(50));
    }
}

#[test]
fn a_rule_that_is_never_reached_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = "[[rule]]\ntopics = [\"users/**\"]\n[[rule]]\ntopics = [\"users/{sub}/**\"]\nsubscribe = \"token\"\n";
    std::fs::write(file.path(), config).unwrap();
    let output = run(&["config", "check", "--config", file.path().to_str().unwrap()], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let expected = "rule 2 ([\"users/{sub}/**\"]) is never reached, since rule 1 ([\"users/**\"]) comes first";
    assert!(said.contains(expected), "{said}");
    for (rule, expected) in [
        ("topics = []", "topics: 0 entries"),
        ("topics = [\"a/{sub\"]", "has a { without its }"),
        ("topics = [\"{sub}\"]\nsubscribe = \"anyone\"", "say \"token\""),
        ("topics = [\"a\"]\nsubscribe = \"everyone\"", "unknown variant"),
        ("topics = [\"a\"]\nwho = \"token\"", "unknown field"),
    ] {
        std::fs::write(file.path(), format!("[[rule]]\n{rule}\n")).unwrap();
        let output = run(&["config", "check", "--config", file.path().to_str().unwrap()], &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{rule}: {said}");
    }
}
