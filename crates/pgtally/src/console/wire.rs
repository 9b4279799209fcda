//! The console's side of the wire: pgwire reads and writes the messages, simple and extended, and this answers them.
//!
//! A client can cost only so much: messages, prepared statements and portals have bounds, and one that takes no more of
//! an answer is not waited for.

use std::collections::HashSet;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::sink::{Sink, SinkExt};
use futures_util::{StreamExt, stream};
use pgwire::api::auth::{DefaultServerParameterProvider, StartupHandler};
use pgwire::api::auth::{finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{
    ClientInfo, ClientPortalStore, DEFAULT_NAME, DefaultClient, NoopHandler, PgWireConnectionState, Type,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::extendedquery::{Bind, BindComplete, Close, CloseComplete, Parse, ParseComplete};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_util::codec::{Framed, FramedParts};

use super::Console;
use super::commands::{Command, HELP, Like, Misunderstood, Select, Subject, is_like, parse};
use super::tables::{Cell, Kind, Rows, columns};
use crate::limits::{CONSOLE_MESSAGE_BYTES_MAX, CONSOLE_NAMES_MAX, CONSOLE_WRITE_TIMEOUT};
use crate::socket::Stream;

/// Answers a client that has been let in until it leaves. `packet` is its startup packet.
pub(super) async fn run(stream: Stream, peer: Option<SocketAddr>, packet: &[u8], console: Console) {
    let address = peer.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let is_tls = stream.is_tls();
    let codec = PgWireMessageServerCodec::new(DefaultClient::new(address, is_tls));
    let mut parts = FramedParts::new::<PgWireBackendMessage>(Rationed { stream, ration: 0 }, codec);
    parts.read_buf.extend_from_slice(packet);
    let mut socket = Framed::from_parts(parts);
    socket.set_state(PgWireConnectionState::AwaitingStartup);
    let console = Arc::new(console);
    let noop = Arc::new(NoopHandler);
    loop {
        socket.get_mut().ration = CONSOLE_MESSAGE_BYTES_MAX;
        let message = match socket.next().await {
            Some(Ok(PgWireFrontendMessage::Terminate(_))) | None => return,
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                // Behind a message that cannot be read, nothing can.
                let _ = timeout(CONSOLE_WRITE_TIMEOUT, process_error(&mut socket, error, false)).await;
                return;
            }
        };
        let is_extended = message.is_extended_query();
        let handlers = (Arc::clone(&console), Arc::clone(&console), Arc::clone(&console));
        let answering = Box::pin(process_message(
            message,
            &mut socket,
            handlers.0,
            handlers.1,
            handlers.2,
            Arc::clone(&noop),
            Arc::clone(&noop),
        ));
        let answered = match timeout(CONSOLE_WRITE_TIMEOUT, answering).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => {
                timeout(CONSOLE_WRITE_TIMEOUT, process_error(&mut socket, error, is_extended)).await
            }
            Err(late) => Err(late),
        };
        if !matches!(answered, Ok(Ok(()))) {
            return;
        }
    }
}

/// A stream of which only so many bytes are read, until more are granted.
struct Rationed {
    stream: Stream,
    ration: usize,
}

impl AsyncRead for Rationed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ration == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.ration = self.ration.saturating_sub(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Rationed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Names of prepared statements and portals that a client has made.
#[derive(Default)]
pub(super) struct Names(Mutex<HashSet<String>>);

impl Names {
    /// Notes a name; an error when there are too many.
    fn note(&self, kind: char, name: Option<&str>) -> PgWireResult<()> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{kind}{}", name.unwrap_or(DEFAULT_NAME));
        if names.len() >= CONSOLE_NAMES_MAX && !names.contains(&name) {
            return Err(problem(
                "53400",
                "too many prepared statements and portals for a console",
                "Connect anew.",
            ));
        }
        names.insert(name);
        Ok(())
    }

    fn forget(&self, kind: char, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&format!("{kind}{name}"));
    }
}

/// An error in PostgreSQL's form.
pub(super) fn problem(sqlstate: &str, message: &str, hint: &str) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".into(), sqlstate.into(), message.into());
    info.hint = Some(hint.into()).filter(|hint: &String| !hint.is_empty());
    PgWireError::UserError(Box::new(info))
}

fn misunderstood(error: Misunderstood) -> PgWireError {
    problem("42601", &error.0, HELP)
}

#[async_trait]
impl StartupHandler for Console {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let PgWireFrontendMessage::Startup(startup) = message else { return Ok(()) };
        protocol_negotiation(client, &startup).await?;
        save_startup_parameters_to_metadata(client, &startup);
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = concat!("16.0 (pgtally ", env!("CARGO_PKG_VERSION"), ")").into();
        parameters.is_superuser = false;
        finish_authentication(client, &parameters).await?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }
}

#[async_trait]
impl SimpleQueryHandler for Console {
    async fn do_query<C>(&self, _client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let commands = parse(query).map_err(misunderstood)?;
        if commands.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::new();
        for command in commands {
            match self.answer(&command, &[], &Format::UnifiedText).await {
                Ok(response) => responses.push(response),
                // What came before stays answered; what comes after is not done.
                Err(PgWireError::UserError(error)) => {
                    responses.push(Response::Error(error));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(responses)
    }
}

/// Reads commands for the extended protocol.
pub(super) struct Parser;

#[async_trait]
impl QueryParser for Parser {
    type Statement = Command;

    async fn parse_sql<C>(&self, _: &C, sql: &str, _: &[Option<Type>]) -> PgWireResult<Option<Command>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut commands = parse(sql).map_err(misunderstood)?;
        if commands.len() > 1 {
            return Err(problem("42601", "cannot insert multiple commands into a prepared statement", ""));
        }
        Ok(commands.pop())
    }

    fn get_parameter_types(&self, command: &Command) -> PgWireResult<Vec<Type>> {
        let count = match command {
            Command::Show(_, Some(Like::Parameter(index))) => index + 1,
            _ => 0,
        };
        Ok(vec![Type::TEXT; count])
    }

    fn get_result_schema(&self, command: &Command, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        Ok(schema(command, format.unwrap_or(&Format::UnifiedText)))
    }
}

#[async_trait]
impl ExtendedQueryHandler for Console {
    type QueryParser = Parser;
    type Statement = Command;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::new(Parser)
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Command>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.names.note('S', message.name.as_deref())?;
        match StoredStatement::parse(client, &message, self.query_parser()).await? {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => {
                client.portal_store().put_empty_statement(message.name.as_deref().unwrap_or(DEFAULT_NAME))
            }
        }
        client.send(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Command>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.names.note('P', message.portal_name.as_deref())?;
        let statement = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        match client.portal_store().get_statement(statement) {
            Some(Entry::Value(statement)) => {
                let portal = Portal::try_new(&message, statement)?;
                client.portal_store().put_portal(Arc::new(portal));
            }
            Some(Entry::Empty) => {
                client
                    .portal_store()
                    .put_empty_portal(message.portal_name.as_deref().unwrap_or(DEFAULT_NAME));
            }
            None => return Err(PgWireError::StatementNotFound(statement.to_owned())),
        }
        client.send(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Command>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        self.names.forget(char::from(message.target_type), name);
        if message.target_type == b'S' {
            client.portal_store().rm_statement(name);
        } else {
            client.portal_store().rm_portal(name);
        }
        client.send(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn do_query<C>(
        &self,
        _client: &mut C,
        portal: &Portal<Command>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Command>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // Text is the same in both formats.
        let parameters: Vec<Option<String>> = portal
            .parameters
            .iter()
            .map(|value| value.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
            .collect();
        self.answer(&portal.statement.statement, &parameters, &portal.result_column_format).await
    }
}

impl Console {
    async fn answer(
        &self,
        command: &Command,
        parameters: &[Option<String>],
        format: &Format,
    ) -> PgWireResult<Response> {
        let rows = match command {
            Command::Help => help(),
            Command::Nothing(tag) => return Ok(Response::Execution(Tag::new(tag))),
            Command::Invalidate(scope) => return self.invalidate(scope).map(Response::Execution),
            Command::Reload => return self.reload().await.map(Response::Execution),
            Command::Select(Select::One) => vec![vec![Cell::Int(1)]],
            Command::Select(Select::Version) => {
                vec![vec![concat!("pgtally ", env!("CARGO_PKG_VERSION")).into()]]
            }
            Command::Show(subject, like) => {
                let mut rows = self.show(*subject).await?;
                if let Some(pattern) = pattern(like.as_ref(), parameters)? {
                    rows.retain(|row| has_text_like(row, &pattern));
                }
                rows
            }
        };
        let tag = if matches!(command, Command::Select(_)) { "SELECT" } else { "SHOW" };
        Ok(Response::Query(response(schema(command, format), &rows, tag)?))
    }
}

fn help() -> Rows {
    HELP.split("; ").map(|line| vec![line.into()]).collect()
}

fn pattern(like: Option<&Like>, parameters: &[Option<String>]) -> PgWireResult<Option<String>> {
    match like {
        None => Ok(None),
        Some(Like::Text(text)) => Ok(Some(text.clone())),
        Some(Like::Parameter(index)) => match parameters.get(*index) {
            // Nothing is like NULL; an empty pattern is like empty texts only.
            Some(value) => Ok(Some(value.clone().unwrap_or_default())),
            None => Err(problem("08P01", &format!("there is no parameter ${}", index + 1), "")),
        },
    }
}

fn has_text_like(row: &[Cell], pattern: &str) -> bool {
    row.iter().any(|cell| matches!(cell, Cell::Text(Some(text)) if is_like(text, pattern)))
}

fn schema(command: &Command, format: &Format) -> Vec<FieldInfo> {
    let columns: &[(&str, Kind)] = match command {
        Command::Help => &[("command", Kind::Text)],
        Command::Select(Select::One) => &[("?column?", Kind::Int)],
        Command::Select(Select::Version) => columns(Subject::Version),
        Command::Show(subject, _) => columns(*subject),
        Command::Invalidate(_) | Command::Nothing(_) | Command::Reload => &[],
    };
    let field = |(index, (name, kind)): (usize, &(&str, Kind))| {
        let kind = match kind {
            Kind::Bool => Type::BOOL,
            Kind::Float => Type::FLOAT8,
            Kind::Int => Type::INT8,
            Kind::Text => Type::TEXT,
        };
        let format = match format {
            Format::UnifiedText => FieldFormat::Text,
            Format::UnifiedBinary => FieldFormat::Binary,
            // Too few of them must not be more than text.
            Format::Individual(codes) => FieldFormat::from(codes.get(index).copied().unwrap_or(0)),
        };
        FieldInfo::new((*name).to_owned(), None, None, kind, format)
    };
    columns.iter().enumerate().map(field).collect()
}

fn response(schema: Vec<FieldInfo>, rows: &Rows, tag: &str) -> PgWireResult<QueryResponse> {
    let schema = Arc::new(schema);
    let mut encoder = DataRowEncoder::new(Arc::clone(&schema));
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        // The encoder counts on one cell per column.
        for cell in row.iter().take(schema.len()) {
            match cell {
                Cell::Bool(value) => encoder.encode_field(value)?,
                Cell::Float(value) => encoder.encode_field(value)?,
                Cell::Int(value) => encoder.encode_field(value)?,
                Cell::Text(value) => encoder.encode_field(value)?,
            }
        }
        encoded.push(Ok(encoder.take_row()));
    }
    let mut response = QueryResponse::new(schema, stream::iter(encoded));
    response.set_command_tag(tag);
    Ok(response)
}
