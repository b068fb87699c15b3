//! A raw-socket conversation for each row of the surface.

use crate::support::Server;

#[test]
fn a_published_event_arrives() {
    let server = Server::start("");
    let mut stream = server.subscribe("/events/a");
    let id = server.publish("a", "hi");
    assert_eq!(stream.expect_data("hi").id, id);
}
