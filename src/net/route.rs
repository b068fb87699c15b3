//! What a request is for: method and path, and nothing else.

use http::Method;

use super::problem::{Problem, Refusal};

/// What the paths of topics begin with.
const EVENTS: &str = "/events";
/// What the paths of the admin endpoints begin with.
const ADMIN: &str = "/admin/";
/// Where the console is.
const CONSOLE: &str = "/console";
/// Where tokens are revoked.
pub const REVOKE: &str = "/admin/revoke";
/// What a publisher is told where only the program itself publishes.
const NO_PUBLISHING: &str = "this gateway takes no events over HTTP";
const READ_METHODS: &str = "GET, HEAD";
const STREAM_METHODS: &str = "GET, HEAD, OPTIONS";
const PUBLISH_METHODS: &str = "POST";
const TICKET_METHODS: &str = "POST, OPTIONS";
const STREAM_AND_PUBLISH_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// What requests to a listener may be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allows {
    /// Streams, at `/` and `/events`.
    pub streams: bool,
    /// Publishing.
    pub publish: bool,
    /// Health, readiness and metrics.
    pub health: bool,
    /// What is at `/admin/`.
    pub admin: bool,
    /// Where publishing is not, it is on another listener.
    pub publish_elsewhere: bool,
    /// Web pages may ask. Where they may not, neither may a request for a name that could be one's.
    pub pages: bool,
}

impl Allows {
    /// The public listener's.
    pub const PUBLIC: Allows = Allows { streams: true, pages: true, publish_elsewhere: true, ..Allows::NOTHING };
    /// The control listener's.
    pub const CONTROL: Allows = Allows { publish: true, health: true, admin: true, ..Allows::NOTHING };
    /// The health listener's: what it answers may be seen by all, and changes nothing.
    pub const HEALTH: Allows = Allows { health: true, pages: true, ..Allows::NOTHING };
    const NOTHING: Allows =
        Allows { streams: false, publish: false, health: false, admin: false, publish_elsewhere: false, pages: false };
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A stream of the default topic for who asks for one by name, else `ok`.
    Root,
    /// A stream: of this topic, still percent-encoded, and of what the query names.
    Stream(Option<&'a str>),
    /// An event for this topic, still percent-encoded, or a batch.
    Publish(Option<&'a str>),
    /// A stream, which is for the public listener.
    StreamElsewhere,
    /// An event, which is for the control listener.
    PublishElsewhere,
    /// A page to try streams on.
    Try,
    /// What may be asked here.
    Options(&'static str),
    /// Whether the process is alive.
    Health,
    /// Whether it takes in streams.
    Ready,
    /// What is counted.
    Metrics,
    /// What can be asked, as OpenAPI.
    OpenApi,
    /// The slowest streams.
    AdminStreams,
    /// The busiest topics.
    AdminTopics,
    /// A token is to be refused from now on.
    AdminRevoke,
    /// A ticket for a stream.
    Tickets,
    /// The configuration that runs.
    AdminConfig,
    /// A file of the console, at this path below it.
    Console(&'a str),
    /// A stream for the console.
    ConsoleEvents,
}

/// Finds a request's route among those that its listener allows.
///
/// # Errors
/// 404; 405 with the methods that the path knows; 403 where nobody can publish over HTTP.
pub fn route<'a>(allows: Allows, method: &Method, path: &'a str) -> Result<Route<'a>, Problem> {
    let read = |route| match *method {
        Method::GET | Method::HEAD => Ok(route),
        _ => Err(Problem::method(READ_METHODS)),
    };
    match path {
        "*" if method == Method::OPTIONS => Ok(Route::Options(methods(allows).unwrap_or(READ_METHODS))),
        "/" if allows.streams => match *method {
            Method::GET | Method::HEAD => Ok(Route::Root),
            Method::OPTIONS => Ok(Route::Options(STREAM_METHODS)),
            _ => Err(Problem::method(STREAM_METHODS)),
        },
        "/try" if allows.streams => read(Route::Try),
        "/tickets" if allows.streams && allows.publish => match *method {
            Method::POST => Ok(Route::Tickets),
            Method::OPTIONS => Ok(Route::Options(TICKET_METHODS)),
            _ => Err(Problem::method(TICKET_METHODS)),
        },
        "/healthz" if allows.health => read(Route::Health),
        "/readyz" if allows.health => read(Route::Ready),
        "/metrics" if allows.health => read(Route::Metrics),
        "/openapi.json" if allows.publish => read(Route::OpenApi),
        _ if allows.admin && path.starts_with(ADMIN) => match &path[ADMIN.len()..] {
            "streams" => read(Route::AdminStreams),
            "topics" => read(Route::AdminTopics),
            "revoke" if method == Method::POST => Ok(Route::AdminRevoke),
            "revoke" => Err(Problem::method(PUBLISH_METHODS)),
            "config" => read(Route::AdminConfig),
            _ => Err(Problem::not_found()),
        },
        _ if allows.admin && is_console(path) => match &path[CONSOLE.len()..] {
            "/events" => read(Route::ConsoleEvents),
            file => read(Route::Console(file)),
        },
        _ => events(allows, method, path),
    }
}

/// Whether this is for an operator who asks, and off unless the configuration turns it on.
pub fn is_admin(path: &str) -> bool {
    path.starts_with(ADMIN) || is_console(path)
}

fn is_console(path: &str) -> bool {
    path.strip_prefix(CONSOLE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn events<'a>(allows: Allows, method: &Method, path: &'a str) -> Result<Route<'a>, Problem> {
    let topic = below_events(path);
    let (Some(topic), Some(methods)) = (topic, methods(allows)) else { return Err(Problem::not_found()) };
    match *method {
        Method::GET | Method::HEAD if allows.streams => Ok(Route::Stream(topic)),
        Method::OPTIONS if allows.streams => Ok(Route::Options(methods)),
        Method::POST if allows.publish => Ok(Route::Publish(topic)),
        Method::GET | Method::HEAD => Ok(Route::StreamElsewhere),
        Method::POST if allows.publish_elsewhere => Ok(Route::PublishElsewhere),
        Method::POST => Err(Problem::new(Refusal::Forbidden, NO_PUBLISHING).about("method")),
        _ => Err(Problem::method(methods)),
    }
}

/// The methods that `/events` knows, if it is there.
fn methods(allows: Allows) -> Option<&'static str> {
    match (allows.streams, allows.publish) {
        (true, true) => Some(STREAM_AND_PUBLISH_METHODS),
        (true, false) => Some(STREAM_METHODS),
        (false, true) => Some(PUBLISH_METHODS),
        (false, false) => None,
    }
}

/// Whether a request is meant to publish, be it well-formed or not.
pub fn publishes(allows: Allows, method: &Method, path: &str) -> bool {
    allows.publish && method == Method::POST && below_events(path).is_some()
}

/// What follows `/events/`, if anything; `None` at any other path.
fn below_events(path: &str) -> Option<Option<&str>> {
    match path.strip_prefix(EVENTS)? {
        "" => Some(None),
        rest => rest.strip_prefix('/').map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::problem::document;

    const ALL: Allows = Allows { publish: true, health: true, admin: true, ..Allows::PUBLIC };

    #[track_caller]
    fn check(allows: Allows, request: &str, expected: Route<'_>) {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(route(allows, &method.parse().unwrap(), path).ok(), Some(expected), "{request}");
    }

    #[track_caller]
    fn check_refused(allows: Allows, request: &str, reason: Refusal) {
        let (method, path) = request.split_once(' ').unwrap();
        let problem = route(allows, &method.parse().unwrap(), path).unwrap_err();
        assert_eq!(problem.reason(), reason, "{request}");
    }

    #[test]
    fn a_listener_is_the_set_of_routes_that_it_allows() {
        for allows in [Allows::PUBLIC, ALL] {
            check(allows, "GET /", Route::Root);
            check(allows, "GET /try", Route::Try);
            check(allows, "HEAD /events/a%2Fb", Route::Stream(Some("a%2Fb")));
            check(allows, "GET /events", Route::Stream(None));
            check(allows, "GET /events/", Route::Stream(Some("")));
        }
        for allows in [Allows::CONTROL, ALL] {
            check(allows, "POST /events/a", Route::Publish(Some("a")));
            check(allows, "POST /events", Route::Publish(None));
            check(allows, "GET /openapi.json", Route::OpenApi);
            check_refused(allows, "POST /openapi.json", Refusal::Method);
            check(allows, "GET /admin/streams", Route::AdminStreams);
            check(allows, "HEAD /admin/topics", Route::AdminTopics);
            check(allows, "GET /admin/config", Route::AdminConfig);
            check(allows, "GET /console", Route::Console(""));
            check(allows, "GET /console/console.js", Route::Console("/console.js"));
            check(allows, "GET /console/events", Route::ConsoleEvents);
            check_refused(allows, "POST /console/events", Refusal::Method);
            check_refused(allows, "GET /consoles", Refusal::NotFound);
            check_refused(allows, "POST /admin/topics", Refusal::Method);
            check_refused(allows, "GET /admin/", Refusal::NotFound);
        }
        for allows in [Allows::CONTROL, Allows::HEALTH, ALL] {
            check(allows, "GET /healthz", Route::Health);
            check(allows, "HEAD /readyz", Route::Ready);
            check(allows, "GET /metrics", Route::Metrics);
            check_refused(allows, "POST /metrics", Refusal::Method);
        }
        check(Allows::PUBLIC, "OPTIONS *", Route::Options(STREAM_METHODS));
        check(Allows::CONTROL, "OPTIONS *", Route::Options(PUBLISH_METHODS));
        check(Allows::HEALTH, "OPTIONS *", Route::Options(READ_METHODS));
        check(Allows::PUBLIC, "OPTIONS /events/a", Route::Options(STREAM_METHODS));
        check(ALL, "OPTIONS /events/a", Route::Options(STREAM_AND_PUBLISH_METHODS));
        check_refused(Allows::PUBLIC, "GET *", Refusal::NotFound);
        check_refused(Allows::PUBLIC, "GET /metrics", Refusal::NotFound);
        check_refused(Allows::PUBLIC, "GET /openapi.json", Refusal::NotFound);
        check_refused(Allows::PUBLIC, "GET /admin/streams", Refusal::NotFound);
        check_refused(Allows::PUBLIC, "GET /console/events", Refusal::NotFound);
        check_refused(Allows::PUBLIC, "GET /eventsa", Refusal::NotFound);
        check_refused(Allows::PUBLIC, "PUT /events/a", Refusal::Method);
        check_refused(Allows::CONTROL, "GET /", Refusal::NotFound);
        check(Allows::PUBLIC, "POST /events/a", Route::PublishElsewhere);
        check(Allows::CONTROL, "GET /events/a", Route::StreamElsewhere);
        let said = |allows, method| {
            document(route(allows, &method, "/events/a").unwrap_err())["detail"].as_str().unwrap().to_owned()
        };
        assert_eq!(said(Allows::CONTROL, Method::PUT), "this path knows POST");
        let alone = Allows { publish_elsewhere: false, ..Allows::PUBLIC };
        assert_eq!(said(alone, Method::POST), "this gateway takes no events over HTTP");
        for request in ["GET /", "GET /events/a", "POST /events/a", "OPTIONS /events", "GET /admin/streams"] {
            check_refused(Allows::HEALTH, request, Refusal::NotFound);
        }
    }
}
