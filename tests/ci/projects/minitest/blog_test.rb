# The same list with and without a list of keys, on a connection that outlives its tests.
require "minitest/autorun"
require "pg"
require ENV.fetch("PGTALLY_SNIPPET")

CONNECTION = Pgtally.watch(PG.connect)

class BlogTest < Minitest::Test
  def posts
    CONNECTION.exec("SELECT id, author_id FROM posts ORDER BY id").map { |row| row["author_id"] }
  end

  def test_one_by_one
    posts.each { |author| CONNECTION.exec_params("SELECT name FROM authors WHERE id = $1", [author]) }
  end

  def test_at_once
    list = "{#{posts.join(",")}}"
    assert CONNECTION.exec_params("SELECT name FROM authors WHERE id = ANY($1::int[])", [list]).ntuples.positive?
  end
end
