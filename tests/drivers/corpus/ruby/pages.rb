# Runs a library's pages, each on a connection of its own whose startup options name its request.
# libpq reads PGOPTIONS when it connects.

DATABASE_URL = ENV.fetch("DATABASE_URL")

def run(library, pages)
  $stdout.sync = true
  pages.each do |page, body|
    name = "#{library}.#{page}"
    ENV["PGOPTIONS"] = "-c pgtally.request=route=#{name},id=#{name}"
    puts name
    yield body
  end
end
