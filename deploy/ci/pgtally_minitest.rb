# For pgtally, every test is a request of its own: Minitest, with the gem pg or with Active Record.
#
#   require_relative "pgtally_minitest"
#   Pgtally.watch(connection)             # a PG::Connection that tests use; Active Record's is found
#
# For RSpec: config.around { |example| Pgtally.named(example.id) { example.run } }
# PostgreSQL accepts the setting without pgtally, too.
module Pgtally
  @watched = []

  def self.watch(connection)
    @watched << connection
    connection
  end

  # Names the request of what runs in the block.
  def self.named(test)
    # A comma would end the name.
    name = test.tr(",", ";")
    tell("route=#{name},id=#{name}")
    yield
  ensure
    tell("")
  end

  def self.tell(request)
    text = "SET pgtally.request = '#{request.gsub("'", "''")}'"
    @watched.each { |connection| connection.exec(text) unless connection.finished? }
    ActiveRecord::Base.connection.execute(text) if defined?(ActiveRecord::Base) && ActiveRecord::Base.connected?
  rescue StandardError
    # A connection in a failed transaction is no reason to fail a test.
  end

  # Around every test of Minitest.
  module Named
    def run(...)
      Pgtally.named("#{self.class.name}##{name}") { super }
    end
  end
end

Minitest::Test.prepend(Pgtally::Named) if defined?(Minitest::Test)
