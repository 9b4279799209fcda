# Pages of Sequel.
require "sequel"
require_relative "pages"

# Models belong to a database, and each page has its own.
def models(db)
  Class.new do
    const_set(:Author, Class.new(Sequel::Model(db[:authors])) { one_to_many :posts, key: :author_id, class: "Shop::Post" })
    const_set(:Comment, Class.new(Sequel::Model(db[:comments])))
    const_set(:Post, Class.new(Sequel::Model(db[:posts])) do
      many_to_one :author, key: :author_id, class: "Shop::Author"
      one_to_many :comments, key: :post_id, class: "Shop::Comment"
    end)
  end
end

PAGES = {
  posts_lazy: ->(_) { Shop::Post.order(:id).each { |post| post.author.name } },
  posts_ahead: ->(_) { Shop::Post.eager(:author).all { |post| post.author.name } },
  comments_lazy: ->(_) { Shop::Post.limit(15).all { |post| post.comments } },
  counts_lazy: ->(_) { Shop::Author.all { |author| author.posts_dataset.count } },
  orders_lazy: ->(db) { db[:orders].all { |order| db[:customers].first(id: order[:customer_id]) } },
  names_from_api: ->(db) { (1..12).each { |number| db[:authors].first(name: "author #{number}") } },
  setting_again: ->(db) { 4.times { db[:settings].first(name: "setting 2") } },
  paginate: lambda { |db|
    posts = db[:posts].where(views: 0)
    posts.count
    posts.order(:id).limit(10).all
  },
  get_after_create: ->(_) { Shop::Post.create(author_id: 2, title: "new").refresh },
  bulk_singly: ->(db) { (1..15).each { |number| db[:comments].insert(post_id: number, body: "new") } },
  bulk_at_once: ->(db) { db[:comments].multi_insert((1..15).map { |number| { post_id: number, body: "new" } }) },
  update_singly: ->(_) { Shop::Post.order(:id).limit(12).all { |post| post.update(views: post.views + 1) } },
  export_pages: ->(db) { db[:events].order(:id).paged_each(rows_per_fetch: 300) { |event| event[:kind] } },
}.freeze

run("sequel", PAGES) do |page|
  db = Sequel.connect(DATABASE_URL.sub("postgresql:", "postgres:"))
  Shop = models(db)
  page.call(db)
  Object.send(:remove_const, :Shop)
  db.disconnect
end
