<?php
// Runs a library's pages, each on a connection of its own whose startup options name its request.
// libpq reads PGOPTIONS when it connects.

/** @return array{host: string, port: int, user: string, path: string} */
function address(): array
{
    return parse_url(getenv('DATABASE_URL'));
}

/** Calls `$around` with every page; it opens the connection and closes it again. */
function run(string $library, array $pages, callable $around): void
{
    foreach ($pages as $page => $body) {
        $name = "$library.$page";
        putenv("PGOPTIONS=-c pgtally.request=route=$name,id=$name");
        echo "$name\n";
        $around($body);
    }
}
