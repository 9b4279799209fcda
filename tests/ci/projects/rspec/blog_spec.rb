# The same list with and without a list of keys, on a connection that outlives its examples.
require "pg"
require ENV.fetch("PGTALLY_SNIPPET")

CONNECTION = Pgtally.watch(PG.connect)

RSpec.configure do |config|
  config.around { |example| Pgtally.named(example.full_description) { example.run } }
end

RSpec.describe "blog" do
  let(:posts) { CONNECTION.exec("SELECT id, author_id FROM posts ORDER BY id").map { |row| row["author_id"] } }

  it "reads one by one" do
    posts.each { |author| CONNECTION.exec_params("SELECT name FROM authors WHERE id = $1", [author]) }
  end

  it "reads at once, and is quick" do
    list = "{#{posts.join(",")}}"
    names = CONNECTION.exec_params("SELECT name FROM authors WHERE id = ANY($1::int[])", [list])
    expect(names.ntuples).to be > 1
  end
end
