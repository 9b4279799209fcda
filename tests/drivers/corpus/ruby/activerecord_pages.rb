# Pages of ActiveRecord, without Rails around it.
require "active_record"
require_relative "pages"

class Author < ActiveRecord::Base
  has_many :posts
end

class Tag < ActiveRecord::Base
end

class PostTag < ActiveRecord::Base
  self.primary_key = nil
  belongs_to :post
  belongs_to :tag
end

class Post < ActiveRecord::Base
  belongs_to :author
  has_many :comments
  has_many :post_tags
  has_many :tags, through: :post_tags
end

class Comment < ActiveRecord::Base
  belongs_to :post, optional: true
end

class Customer < ActiveRecord::Base
end

class Order < ActiveRecord::Base
  belongs_to :customer
end

class Setting < ActiveRecord::Base
end

class Event < ActiveRecord::Base
end

class Job < ActiveRecord::Base
end

class Document < ActiveRecord::Base
end

class UniqueTag < ActiveRecord::Base
  self.table_name = "tags"
  validates :name, uniqueness: true
end

class Category < ActiveRecord::Base
  belongs_to :parent, class_name: "Category", optional: true
end

PAGES = {
  posts_lazy: -> { Post.order(:id).each { |post| post.author.name } },
  posts_ahead: -> { Post.includes(:author).each { |post| post.author.name } },
  comments_lazy: -> { Post.limit(15).each { |post| post.comments.to_a } },
  comments_ahead: -> { Post.preload(:comments).each { |post| post.comments.to_a } },
  counts_lazy: -> { Author.all.each { |author| author.posts.count } },
  counts_grouped: -> { Post.group(:author_id).count },
  nested_lazy: -> { Author.order(:name).limit(6).each { |author| author.posts.each { |post| post.comments.to_a } } },
  nested_ahead: -> { Author.includes(posts: :comments).each { |author| author.posts.each { |post| post.comments.to_a } } },
  tags_lazy: -> { Post.all.each { |post| post.tags.to_a } },
  tags_ahead: -> { Post.includes(:tags).each { |post| post.tags.to_a } },
  orders_lazy: -> { Order.all.each { |order| order.customer.name } },
  last_lazy: -> { Author.all.each { |author| author.posts.order(published_at: :desc).first } },
  exists_lazy: -> { Author.order(:id).each { |author| author.posts.where("views > 0").exists? } },
  tree_up: lambda {
    category = Category.find(9)
    category = category.parent while category.parent
  },
  names_from_api: -> { (1..12).each { |number| Author.find_by(name: "author #{number}") } },
  few_lookups: -> { [3, 8, 5].each { |number| Author.find(number) } },
  setting_again: -> { 4.times { Setting.find_by(name: "setting 2") } },
  paginate: lambda {
    posts = Post.where(views: 0)
    posts.count
    posts.order(:id).limit(10).offset(0).to_a
  },
  get_after_create: -> { Post.create!(author_id: 2, title: "new").reload },
  bulk_singly: -> { Comment.transaction { (1..15).each { |number| Comment.create!(post_id: number, body: "new") } } },
  bulk_at_once: -> { Comment.insert_all((1..15).map { |number| { post_id: number, body: "new" } }) },
  validated_singly: -> { (1..12).each { |number| UniqueTag.create!(name: "unique #{number}") } },
  update_singly: -> { Post.order(:id).limit(12).each { |post| post.update!(views: post.views + 1) } },
  update_at_once: -> { Post.where(views: 1).update_all("views = views + 1") },
  delete_singly: -> { Comment.order(id: :desc).limit(12).each(&:destroy!) },
  delete_at_once: -> { Comment.where(body: "new").delete_all },
  export_all: -> { Event.all.map(&:kind) },
  export_pages: -> { Event.find_each(batch_size: 300) { |event| event.kind } },
  offset_pages: -> { (0..10).each { |page| Event.order(:id).limit(100).offset(page * 100).to_a } },
  documents_wide: -> { (1..4).each { |author| Document.where(author_id: author).to_a } },
  chunks: -> { Event.order(:id).limit(600).pluck(:id).each_slice(50) { |ids| Event.where(id: ids).to_a } },
  dashboard: lambda {
    Post.count
    Author.order(:id).last
    Tag.all.to_a
    Event.where(kind: "click").count
  },
  savepoints: lambda {
    Post.transaction { (1..3).each { |id| Post.transaction(requires_new: true) { Post.where(id: id).update_all(views: 9) } } }
  },
  queue: lambda {
    12.times do
      Job.transaction do
        job = Job.where(state: "waiting").order(:id).lock("FOR UPDATE SKIP LOCKED").first
        Job.where(id: job.id).update_all(state: "done")
      end
    end
  },
  upsert_few: -> { ["tag 1", "tag 2", "tag 3"].each { |name| Tag.find_or_create_by!(name: name) } },
}.freeze

run("activerecord", PAGES) do |page|
  ActiveRecord::Base.establish_connection(DATABASE_URL)
  page.call
  ActiveRecord::Base.remove_connection
end
